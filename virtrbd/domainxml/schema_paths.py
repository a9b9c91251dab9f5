"""The paths that a definition can have, by libvirt's own schema (RELAX NG): a typo is not among them."""

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from lxml import etree

from virtrbd.domainxml.tree import Element
from virtrbd.domainxml.validate import SCHEMA
from virtrbd.model.element_path import ROOT, ElementPath

_RNG = "{http://relaxng.org/ns/structure/1.0}"
_ANY = (f"{_RNG}anyName", f"{_RNG}nsName")
_QEMU, _QEMU_NAMESPACE = "qemu:", "http://libvirt.org/schemas/domain/qemu/1.0"
# Paths of plan that are not in the XML.
_BESIDE = (ROOT, ElementPath("autostart"))


def can_exist(path: ElementPath) -> bool:
    """Whether a definition could have an element or attribute at the path; true where no schema is installed."""
    schema = _defines()
    if path in _BESIDE or not schema:
        return True
    found = [each for define in schema["domain"] for each in _within(define, "element")]
    for step in path.steps:
        inside = [each for element in found for each in _within(element, "element")]
        # In <metadata> others may write anything.
        if any(_is_open(element) for element in inside):
            return True
        found = [element for element in inside if _is_named(element, step)]
    if not path.attribute:
        return bool(found)
    attributes = [each for element in found for each in _within(element, "attribute")]
    return any(_is_open(each) or path.attribute in _names(each) for each in attributes)


@cache
def _defines() -> dict[str, list[Element]]:
    """Return the schema's definitions by name, of all files that it includes; none where it is not installed."""
    found: dict[str, list[Element]] = {}
    try:
        for grammar in _grammars(SCHEMA, set()):
            for define in grammar.iter(f"{_RNG}define"):
                found.setdefault(define.get("name", ""), []).append(define)
    except OSError:
        return {}
    return found


def _grammars(file: Path, seen: set[Path]) -> Iterator[Element]:
    if file in seen:
        return
    seen.add(file)
    grammar = etree.parse(str(file)).getroot()
    yield grammar
    for include in grammar.iter(f"{_RNG}include"):
        yield from _grammars(file.parent / include.get("href", ""), seen)


def _within(node: Element, kind: str) -> Iterator[Element]:
    """Yield the elements or attributes that a pattern allows directly in it."""
    return _of(node, f"{_RNG}{kind}", set())


def _of(nodes: Iterable[Element], tag: str, seen: set[str]) -> Iterator[Element]:
    for node in nodes:
        if node.tag == tag:
            yield node
        elif node.tag == f"{_RNG}ref" and (name := node.get("name", "")) not in seen:
            seen.add(name)
            for define in _defines().get(name, ()):
                yield from _of(define, tag, seen)
        elif node.tag not in (f"{_RNG}element", f"{_RNG}attribute"):
            yield from _of(node, tag, seen)


def _is_named(element: Element, step: str) -> bool:
    """Whether a step of a path, `disk:vda` or `rng#2`, may be that element."""
    bare = unquote(step).partition("#")[0]
    name = bare.removeprefix(_QEMU).partition(":")[0]
    namespaces = (each.get("ns") for each in (element, *element.iterancestors()))
    is_qemu = next((each for each in namespaces if each is not None), "") == _QEMU_NAMESPACE
    return name in _names(element) and is_qemu == bare.startswith(_QEMU)


def _names(node: Element) -> set[str]:
    """Return the names that an element or attribute of the schema may have."""
    named = {node.get("name", "")} - {""}
    return named or {(each.text or "").strip() for each in node.iterchildren(f"{_RNG}name", f"{_RNG}choice")}


def _is_open(node: Element) -> bool:
    return any(child.tag in _ANY for child in node)
