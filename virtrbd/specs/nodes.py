"""YAML's node trees, read under limits: nothing is built from a document before its size is known."""

import base64
import codecs
import math
from collections.abc import Iterator
from typing import cast

import yaml

from virtrbd.specs.limits import MAX_CHARACTERS, MAX_DEPTH, MAX_DOCUMENTS, MAX_VALUES

_Loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAGS = "tag:yaml.org,2002:"
_RESOLVER = yaml.resolver.Resolver()
_CONSTRUCTOR = yaml.constructor.SafeConstructor()
# libyaml compares each directive with all before it: 60,000 take minutes.
_MAX_DIRECTIVES = 20
# More digits than any field has; Python refuses to print numbers of more than 4,300.
_MAX_DIGITS = 100


class UnreadableError(Exception):
    """The text is not YAML, or too large. The message repeats no value: it may be a secret."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def document_nodes(raw: bytes) -> Iterator[yaml.Node]:
    """Yield the node tree of each document, each within the limits. Raises UnreadableError."""
    raw = _as_utf8(raw)
    _check_directives(raw)
    loader = None
    try:
        _check_events(raw)
        loader = _Loader(raw)
        while loader.check_node():
            node = loader.get_node()
            _Weighing().weigh(node)
            yield node
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UnreadableError(line, f"not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise UnreadableError(1, f"not YAML: {str(error).splitlines()[0]}") from None
    finally:
        if loader:
            loader.dispose()


def construct(raw: bytes) -> object:
    """Return the data of the only document, `<<` followed; None for an empty text. Raises UnreadableError."""
    nodes = list(document_nodes(raw))
    if len(nodes) > 1:
        raise UnreadableError(nodes[1].start_mark.line + 1, "not YAML of one document")
    if not nodes:
        return None
    try:
        return yaml.constructor.SafeConstructor().construct_document(nodes[0])
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UnreadableError(line, "not YAML that can be read") from None
    except Exception:  # PyYAML's constructors raise whatever int(), float(), date() and dictionaries raise
        raise UnreadableError(1, "not YAML that can be read: a value does not fit its tag") from None


def kind_of(node: yaml.Node) -> str:
    """Return `int` for a node tagged `!!int`; another tag than YAML's as it is."""
    return str(node.tag).removeprefix(_TAGS)


def tag_of(node: yaml.Node) -> str:
    """Return the tag in its written form: `!!int`, `!other`."""
    return str(node.tag).replace(_TAGS, "!!", 1)


def fits_its_tag(node: yaml.Node) -> bool:
    """Whether a node has the tag that YAML itself would give it; `!!str` and `!!binary` fit every text."""
    if isinstance(node, yaml.MappingNode):
        return kind_of(node) == "map"
    if isinstance(node, yaml.SequenceNode):
        return kind_of(node) == "seq"
    if kind_of(node) in ("str", "binary"):
        return True
    # The stubs have no types for it.
    return bool(_RESOLVER.resolve(yaml.ScalarNode, node.value, (True, False)) == node.tag)  # type: ignore[no-untyped-call]


def is_too_long(number: yaml.Node) -> bool:
    """Whether a whole number has more digits than any field has."""
    return len(number.value) > _MAX_DIGITS


def read_float(node: yaml.ScalarNode) -> float:
    """Return the number. Raises ValueError for a number that is too large."""
    number = float(_CONSTRUCTOR.construct_yaml_float(node))
    if math.isinf(number) and "inf" not in node.value.lower():
        raise ValueError("too large")
    return number


def read_binary(node: yaml.ScalarNode) -> bytes:
    """Return the bytes. Raises ValueError for a text that is not base64: PyYAML skips invalid characters."""
    return base64.b64decode("".join(node.value.split()), validate=True)


def _as_utf8(raw: bytes) -> bytes:
    """Return UTF-16, which YAML allows with a byte order mark, as UTF-8. Raises UnreadableError."""
    if not raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw
    try:
        return raw.decode("utf-16").encode()
    except UnicodeDecodeError:
        raise UnreadableError(1, "not YAML: begins as UTF-16 and is not; write UTF-8") from None


def _check_directives(raw: bytes) -> None:
    lines = raw.splitlines() if b"%" in raw else []
    directives = [number for number, line in enumerate(lines, 1) if line.startswith(b"%")]
    if len(directives) > _MAX_DIRECTIVES:
        raise UnreadableError(directives[_MAX_DIRECTIVES], f"more than {_MAX_DIRECTIVES} lines begin with %")


def _check_events(raw: bytes) -> None:
    """Raise UnreadableError for a text that nests too deep or is too large, YAMLError for a text that is not YAML.

    The parser's events come one by one and without recursion, its nodes with it and a whole document at a time.
    """
    documents = depth = values = 0
    for event in yaml.parse(raw, Loader=_Loader):
        match event:
            case yaml.DocumentStartEvent():
                documents, values = documents + 1, 0
            case yaml.CollectionStartEvent():
                depth, values = depth + 1, values + 1
            case yaml.CollectionEndEvent():
                depth -= 1
            case yaml.NodeEvent():
                values += 1
        if problem := _beyond(documents, depth, values):
            # The stubs know libyaml's marks for nodes only.
            raise UnreadableError(cast(yaml.Mark, event.start_mark).line + 1, problem)


def _beyond(documents: int, depth: int, values: int) -> str:
    if documents > MAX_DOCUMENTS:
        return f"more than {MAX_DOCUMENTS} documents"
    if depth > MAX_DEPTH:
        return f"nested more than {MAX_DEPTH} deep"
    return f"more than {MAX_VALUES} keys and values" if values > MAX_VALUES else ""


class _Weighing:
    """Counts the size of a node tree with its aliases written out; each node is looked at once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, int, int]] = {}

    def weigh(self, node: yaml.Node) -> tuple[int, int, int]:
        """Return values, characters and depth. Raises UnreadableError beyond the limits."""
        known = self._known.get(id(node))
        if known:
            return known
        line = node.start_mark.line + 1
        if isinstance(node, yaml.ScalarNode):
            return 1, len(node.value), 0
        # Until it is known; a node that meets it meanwhile is inside it.
        self._known[id(node)] = (MAX_VALUES, 0, 0)
        values, characters, depth = 1, 0, 0
        for child in _children(node):
            more = self.weigh(child)
            values, characters, depth = values + more[0], characters + more[1], max(depth, more[2] + 1)
            if values > MAX_VALUES:
                raise UnreadableError(line, f"more than {MAX_VALUES} keys and values, or an alias inside itself")
            if characters > MAX_CHARACTERS:
                raise UnreadableError(line, f"more than {MAX_CHARACTERS} characters with its aliases written out")
            if depth > MAX_DEPTH:
                raise UnreadableError(line, f"nested more than {MAX_DEPTH} deep with its aliases written out")
        self._known[id(node)] = (values, characters, depth)
        return values, characters, depth


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    for child in node.value:
        # A mapping's are pairs.
        yield from child if isinstance(child, tuple) else (child,)
