"""YAML documents with line numbers, and the problems that YAML itself hides."""

from collections.abc import Hashable, Mapping, Sequence

import yaml
from msgspec import Struct, field

from virtrbd.specs.files import MAX_BYTES
from virtrbd.specs.limits import MAX_PROBLEMS, Budget, TooMuchError
from virtrbd.specs.nodes import (
    UnreadableError,
    construct,
    document_nodes,
    fits_its_tag,
    is_too_long,
    kind_of,
    read_binary,
    read_float,
    tag_of,
)

Path = tuple[Hashable, ...]

_MAX_MESSAGE = 400

# Lines of this field are reported by themselves.
_XML = "xml"
# The values below it are passed to a guest. They may be secret, so no message repeats them.
_HANDED_ON = "cloud_init"


class Place(Struct, frozen=True, kw_only=True):
    """The place of a value; `layer` says why that file counts: `profile small`, empty for the spec itself."""

    file: str
    line: int
    layer: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class YamlDocument(Struct, frozen=True, kw_only=True):
    """One YAML document: its data, and the line (from 1) of every path in it.

    `elsewhere`: the places of values from other files (profiles, defaults).
    """

    file: str
    data: object
    lines: Mapping[Path, int]
    elsewhere: Mapping[Path, Place] = field(default_factory=dict)

    def place(self, path: Path) -> Place:
        """Return the place of the value at the path, or of the nearest value around it."""
        for part in (path[:n] for n in range(len(path), -1, -1)):
            if part in self.elsewhere:
                return self.elsewhere[part]
            if part in self.lines:
                return Place(file=self.file, line=self.lines[part])
        return Place(file=self.file, line=1)

    def states(self, path: Path) -> bool:
        """Whether the user wrote a value at this path."""
        return path in self.lines or path in self.elsewhere

    def at(self, path: Path, message: str) -> str:
        """Return `file:line: field: message`, with the nearest known line."""
        return f"{self.place(path)}: {field_name(path)}{brief_message(message)}"

    def members(self, path: Path) -> dict[str, "YamlDocument"]:
        """Return each value of the mapping at a path as a separate document; empty where there is no mapping."""
        data = self.data
        for step in path:
            data = data.get(step) if isinstance(data, dict) else None
        size = len(path)
        lines: dict[Hashable, dict[Path, int]] = {}
        for known, line in self.lines.items():
            if len(known) > size and known[:size] == path:
                lines.setdefault(known[size], {})[known[size + 1 :]] = line
        held = data if isinstance(data, dict) else {}
        return {key: YamlDocument(file=self.file, data=held[key], lines=lines.get(key, {})) for key in held}


def field_name(path: Path) -> str:
    """Return `disks[0].size: ` for ("disks", 0, "size"), nothing for the document itself."""
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return f"{brief_message(name.removeprefix('.'))}: " if name else ""


def brief_message(text: str) -> str:
    """Return the text without its middle where it is long: the way out is at the end."""
    return text if len(text) <= _MAX_MESSAGE else f"{text[: _MAX_MESSAGE // 2]} … {text[-_MAX_MESSAGE // 2 :]}"


def parse_documents(
    file: str, raw: bytes, budget: Budget | None = None
) -> tuple[tuple[YamlDocument, ...], tuple[str, ...]]:
    """Return the documents of a file and the problems found, each as `file:line: field: message`.

    The values that are built are counted on the budget.
    """
    budget = budget or Budget()
    documents: list[YamlDocument] = []
    problems: list[str] = []
    if len(raw) > MAX_BYTES:
        return (), (f"{file}:1: larger than 1 MiB, so it is not a spec; check the path",)
    try:
        for node in document_nodes(raw):
            build = _Build(file, budget)
            data = build.value(node, ())
            problems += build.problems
            if data is not None:
                documents.append(YamlDocument(file=file, data=data, lines=build.lines))
            if len(problems) > MAX_PROBLEMS:
                break
    except UnreadableError as error:
        problems.append(f"{file}:{error.line}: {error}")
    except TooMuchError as error:
        problems.append(f"{file}: {error}")
    return tuple(documents), first_problems(file, problems)


def first_problems(file: str, problems: Sequence[str]) -> tuple[str, ...]:
    """Return as many of a file's problems as a user mends at a time."""
    if len(problems) <= MAX_PROBLEMS:
        return tuple(problems)
    return (*problems[:MAX_PROBLEMS], f"{file}: there are more problems; mend these first")


def dump(data: Mapping[str, object]) -> str:
    """Return data as YAML, in its own order."""
    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000))


def laid_over(under: Mapping[str, str], raw: bytes) -> str:
    """Return a mapping in YAML, completed from `under`. Raises ValueError, which does not repeat any of it."""
    try:
        over = construct(raw)
    except UnreadableError as error:
        raise ValueError(f"line {error.line}: {error}") from None
    if not isinstance(over, dict | None):
        raise ValueError("not a mapping")
    return dump({**under, **(over or {})})


class BlockText(str):
    """A text of a literal block (`xml: |`), whose lines are lines of the file; `line` is that of its first."""

    line = 0


class _Build:
    """Turns the node tree of one document into plain data, and keeps lines and problems."""

    def __init__(self, file: str, budget: Budget) -> None:
        self.file = file
        self.lines: dict[Path, int] = {}
        self.problems: list[str] = []
        self._budget = budget

    def value(self, node: yaml.Node, path: Path) -> object:
        self._budget.spend(1)
        self.lines.setdefault(path, node.start_mark.line + 1)
        if not self._has_fitting_tag(node, path):
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, (*path, index)) for index, child in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)  # YAML has no fourth kind
        return self._handed_on(node, path) if _HANDED_ON in path else self._scalar(node, path)

    def _has_fitting_tag(self, node: yaml.Node, path: Path) -> bool:
        """Whether a node has YAML's own tag: other tags (`!include`, `!!python/…`) are not followed here."""
        if fits_its_tag(node) and (kind_of(node) != "binary" or _HANDED_ON in path):
            return True
        way_out = "leave it out, or write it in a file" if _HANDED_ON in path else "leave it out"
        self._problem(node, path, f"the tag {tag_of(node)} does not fit here; {way_out}")
        return False

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, object]:
        data: dict[str, object] = {}
        for key_node, value_node in node.value:
            self._budget.spend(1)
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem(key_node, path, "a list or a mapping cannot be a key; write a word")
                continue
            if not self._has_fitting_tag(key_node, path):
                continue
            key, here = key_node.value, (*path, key_node.value)
            if key == "<<":
                way_out = "in a file" if _HANDED_ON in path else "use a profile (uses:)"
                self._problem(key_node, path, f"`<<` is not followed here; write it out, or {way_out}")
            elif key in data:
                # PyYAML silently keeps the last of two; the other value would be lost.
                self._problem(key_node, here, f"written twice (first in line {self.lines[here]}); keep one")
            else:
                self._check_text(key_node, path)
                self.lines[here] = key_node.start_mark.line + 1
                data[key] = self.value(value_node, here)
        return data

    def _handed_on(self, node: yaml.ScalarNode, path: Path) -> object:
        """Return a value for a guest with its YAML type: a number with a point is a number, `!!binary` is bytes."""
        try:
            if kind_of(node) == "float":
                return read_float(node)
            if kind_of(node) == "binary":
                return read_binary(node)
        except ValueError:
            self._problem(node, path, f"this is not a {kind_of(node)} that can be passed on; write it in quotes")
            return None
        is_base_60 = kind_of(node) == "int" and ":" in node.value
        return node.value if is_base_60 else self._scalar(node, path)

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> object:
        self._check_text(node, path)
        text = node.value
        match kind_of(node):
            case "int" if ":" in text:
                # YAML 1.1 reads 52:54:00:12:34:56 as a number to base 60.
                self._problem(node, path, f'YAML reads {text} as a number; write "{text}" in quotes')
                return text
            case "int" if is_too_long(node):
                self._problem(node, path, f"a number of {len(text)} digits; write a smaller one")
                return text
            case "int":
                try:
                    return int(text.replace("_", ""), 0)
                except ValueError:
                    return text
            case "bool":
                return text.lower() in ("yes", "true", "on")
            case "null":
                return None
        if node.style == "|" and path[-1:] == (_XML,):
            text = BlockText(text)
            text.line = node.start_mark.line + 2
        return text

    def _check_text(self, node: yaml.ScalarNode, path: Path) -> None:
        text = node.value
        if text.isprintable():
            return
        if _HANDED_ON in path:
            # The guest's own text, but files and UTF-8 cannot hold these.
            if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
                self._problem(node, path, "holds a NUL, or half of a UTF-16 pair; leave it out")
        elif not all(char.isprintable() or char in "\n\t" for char in text):
            self._problem(node, path, "holds control or other invisible characters; leave them out")

    def _problem(self, node: yaml.Node, path: Path, message: str) -> None:
        # One more than are shown shows that there are more.
        if len(self.problems) <= MAX_PROBLEMS:
            self.problems.append(f"{self.file}:{node.start_mark.line + 1}: {field_name(path)}{brief_message(message)}")
