"""YAML documents with line numbers, and the problems that YAML itself hides."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import cast

import yaml

from virtrbd.spec.files import MAX_BYTES

Path = tuple[Hashable, ...]

_Loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# Far beyond any spec: aliases of aliases grow to the power of their number, and libyaml recurses without a limit.
_MAX_DEPTH = 50
_MAX_VALUES = 20_000
_MAX_MESSAGE = 400

# What stands below it goes on to a guest as it is meant there: a number with a point is one, `!!binary` is bytes. It
# may be secret, so no message repeats it.
_HANDED_ON = "cloud_init"
_PLAIN_TAGS = {
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "int", "float", "bool", "null", "timestamp", "binary", "map", "seq", "value")
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a value stands; `layer` says why that file has a say: `profile small`, empty for the spec itself."""

    file: str
    line: int
    layer: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One YAML document: its data, and the line (from 1) of every path in it.

    `elsewhere` has the places of what other files laid under it.
    """

    file: str
    data: object
    lines: Mapping[Path, int]
    elsewhere: Mapping[Path, Place] = field(default_factory=dict)

    def place(self, path: Path) -> Place:
        """Return where the value at the path stands, or the nearest one around it."""
        for part in (path[:n] for n in range(len(path), -1, -1)):
            if part in self.elsewhere:
                return self.elsewhere[part]
            if part in self.lines:
                return Place(file=self.file, line=self.lines[part])
        return Place(file=self.file, line=1)

    def states(self, path: Path) -> bool:
        """Whether somebody wrote a value at this very path."""
        return path in self.lines or path in self.elsewhere

    def at(self, path: Path, message: str) -> str:
        """Return `file:line: field: message`, at the nearest line that is known."""
        return f"{self.place(path)}: {field_name(path)}{brief(message)}"

    def part(self, path: Path) -> "Document":
        """Return what stands at a path as a document of its own. Raises KeyError."""
        data = self.data
        for step in path:
            data = data[step] if isinstance(data, dict) else None
        size = len(path)
        lines = {known[size:]: line for known, line in self.lines.items() if known[:size] == path}
        return Document(file=self.file, data=data, lines=lines)


def field_name(path: Path) -> str:
    """Return `disks[0].size: ` for ("disks", 0, "size"), nothing for the document itself."""
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return f"{brief(name.removeprefix('.'))}: " if name else ""


def brief(text: str) -> str:
    """Return the text without its middle where it is long: the way out is at the end."""
    return text if len(text) <= _MAX_MESSAGE else f"{text[: _MAX_MESSAGE // 2]} … {text[-_MAX_MESSAGE // 2 :]}"


def parse_documents(file: str, raw: bytes) -> tuple[tuple[Document, ...], tuple[str, ...]]:
    """Return the documents of a file and the problems found, each as `file:line: field: message`."""
    documents: list[Document] = []
    problems: list[str] = []
    if len(raw) > MAX_BYTES:
        return (), (f"{file}:1: larger than 1 MiB; that is no spec",)
    loader = None
    try:
        _check_depth(raw)
        loader = _Loader(raw)
        while loader.check_node():
            build = _Build(file)
            data = build.value(loader.get_node(), ())
            problems += build.problems
            if data is not None:
                documents.append(Document(file=file, data=data, lines=build.lines))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problems.append(f"{file}:{line}: no YAML: {error.problem or error.context}")
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problems.append(f"{file}:1: no YAML: {str(error).splitlines()[0]}")
    finally:
        if loader:
            loader.dispose()
    return tuple(documents), tuple(problems)


def dump(data: Mapping[str, object]) -> str:
    """Return data as YAML, in its own order."""
    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000))


def laid_over(under: Mapping[str, str], raw: bytes) -> str:
    """Return a mapping in YAML with what it lacks from `under`. Raises ValueError, which repeats nothing of it."""
    try:
        _check_depth(raw)
        over = yaml.load(raw, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        raise ValueError("no YAML" + (f" in line {mark.line + 1}" if mark else "")) from None
    if not isinstance(over, dict | None):
        raise ValueError("no mapping")
    return dump({**under, **(over or {})})


def _check_depth(raw: bytes) -> None:
    """Raise YAMLError for what nests too deep. The parser's events come without recursion, its nodes with it."""
    depth = 0
    for event in yaml.parse(raw, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            # The stubs know libyaml's marks for nodes only.
            mark = cast(yaml.Mark, event.start_mark)
            raise yaml.MarkedYAMLError(problem=f"nested more than {_MAX_DEPTH} deep", problem_mark=mark)


class _Build:
    """Turns the node tree of one document into plain data, keeping lines and problems."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[Path, int] = {}
        self.problems: list[str] = []
        self.values = 0

    def value(self, node: yaml.Node, path: Path) -> object:
        self.values += 1
        if self.values > _MAX_VALUES or len(path) > _MAX_DEPTH:
            problem = f"more than {_MAX_VALUES} values, or an alias inside itself"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        self.lines.setdefault(path, node.start_mark.line + 1)
        if _HANDED_ON in path and node.tag not in _PLAIN_TAGS:
            self._problem(node.start_mark.line + 1, path, f"{node.tag} is not known here; write it in a file")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, (*path, index)) for index, child in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, object]:
        data: dict[str, object] = {}
        for key_node, value_node in node.value:
            key, line = str(key_node.value), key_node.start_mark.line + 1
            here = (*path, key)
            if key == "<<" and _HANDED_ON in path:
                self._problem(line, path, "`<<` is not followed here; write it out, or in a file")
                continue
            if key in data:
                # PyYAML keeps the last one silently; one of the two values would be lost.
                first = self.lines[here]
                self._problem(line, here, f"written twice (first in line {first}); keep one")
                continue
            self.lines[here] = line
            data[key] = self.value(value_node, here)
        return data

    def _scalar(self, node: yaml.Node, path: Path) -> object:
        text = str(node.value)
        if _HANDED_ON in path and node.tag.endswith((":float", ":binary")):
            return yaml.safe_load(yaml.serialize(node, Dumper=yaml.SafeDumper))
        if _HANDED_ON in path and node.tag.endswith(":int") and ":" in text:
            return text
        if node.tag.endswith(":int"):
            if ":" in text:
                # YAML 1.1 reads 52:54:00:12:34:56 as a number to base 60.
                self._problem(
                    node.start_mark.line + 1, path, f'YAML reads {text} as a number; write "{text}" in quotes'
                )
                return text
            try:
                return int(text.replace("_", ""), 0)
            except ValueError:
                return text
        if node.tag.endswith(":bool"):
            return text.lower() in ("yes", "true", "on")
        return None if node.tag.endswith(":null") else text

    def _problem(self, line: int, path: Path, message: str) -> None:
        self.problems.append(f"{self.file}:{line}: {field_name(path)}{brief(message)}")
