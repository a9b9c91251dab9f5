"""Validate rendered XML against libvirt's own schema, in process and before anything is changed.

libvirt does not name the culprit ("Extra element devices in interleave"), so parts are validated to find it.
"""

import copy
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path

from lxml import etree

from virtrbd.domainxml.document import Rendered
from virtrbd.domainxml.passwords import shown
from virtrbd.domainxml.tree import Element, children, device_key, word

SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")

# The least that the schema takes for a domain; each part of a document is tried beside it.
_LEAST = {"name": "<name>x</name>", "memory": "<memory>1024</memory>", "os": "<os><type>hvm</type></os>"}


@lru_cache(maxsize=64)
def schema_problems(rendered: Rendered) -> tuple[str, ...]:
    """Return what libvirt's schema refuses of a document, each with its line; nothing where none is installed."""
    return tuple(f"{text} (line {element.sourceline} of the XML)" for element, text in refused(rendered.tree))


def refused(root: Element) -> tuple[tuple[Element, str], ...]:
    """Return the elements that libvirt's schema refuses, each with what is wrong with it."""
    schema = _schema()
    if schema is None or schema.validate(root):
        return ()
    culprits = [_narrowed(schema, culprit) for culprit in _culprits(schema, root)]
    whole = (root, f"libvirt's schema refuses it: {_said(schema, root)}")
    return tuple((_original(*culprit), _text(culprit)) for culprit in culprits) or (whole,)


def _original(element: Element, _attribute: str, part: Element) -> Element:
    """Return the element of the document that one of a part's copy is the copy of."""
    indices: list[int] = []
    while (parent := element.getparent()) is not None and parent.tag not in ("domain", "devices"):
        indices.append(parent.index(element))
        element = parent
    for index in reversed(indices):
        part = part[index]
    return part


@cache
def _schema() -> etree.RelaxNG | None:
    try:
        return etree.RelaxNG(etree.parse(str(SCHEMA)))
    except OSError:
        return None


def _culprits(schema: etree.RelaxNG, root: Element) -> Iterator[tuple[Element, ...]]:
    """Yield the children of the root and the devices that alone make a document wrong, as (least document, part)."""
    for child in children(root):
        parts = list(children(child)) if child.tag == "devices" else [child]
        for part in parts:
            document, placed = _alone(root, part)
            if not schema.validate(document):
                yield document, placed, part


def _alone(root: Element, part: Element) -> tuple[Element, Element]:
    """Return a document that holds nothing but the part, and the part in it."""
    document = etree.Element("domain")
    document.attrib.update(root.attrib)
    for tag, least in _LEAST.items():
        if tag != part.tag or part.getparent() is not root:
            document.append(etree.fromstring(least))
    placed = copy.deepcopy(part)
    parent = part.getparent()
    if parent is not None and parent.tag == "devices":
        etree.SubElement(document, "devices").append(placed)
    else:
        document.append(placed)
    return document, placed


def _narrowed(schema: etree.RelaxNG, culprit: tuple[Element, ...]) -> tuple[Element, str, Element]:
    """Return the smallest thing without which the document is valid: an element, its attribute if any, the part.

    The part itself where no single thing is to blame.
    """
    document, placed, part = culprit
    # Backwards is from the inside out: the content of an element comes after it.
    for element in reversed(list(placed.iterdescendants())):
        if name := _wrong_attribute(schema, document, element):
            return element, name, part
        if _is_wrong(schema, document, element):
            return element, "", part
    return placed, _wrong_attribute(schema, document, placed), part


def _wrong_attribute(schema: etree.RelaxNG, document: Element, element: Element) -> str:
    for name, value in list(element.attrib.items()):
        del element.attrib[name]
        is_right = schema.validate(document)
        element.set(name, value)
        if is_right:
            return str(name)
    return ""


def _is_wrong(schema: etree.RelaxNG, document: Element, element: Element) -> bool:
    parent = element.getparent()
    assert parent is not None, "a descendant has a parent"
    index = parent.index(element)
    parent.remove(element)
    is_right: bool = schema.validate(document)
    parent.insert(index, element)
    return is_right


def _text(culprit: tuple[Element, str, Element]) -> str:
    element, attribute, part = culprit
    said = {str(name): shown(str(name), str(value)) for name, value in element.attrib.items()}
    attributes = "".join(f' {name}="{value}"' for name, value in said.items())
    whole = f"<{word(element)}{attributes}>{(element.text or '').strip()[:60]}"
    what = f'{attribute}="{said[attribute]}" of {whole}' if attribute else whole
    parent = part.getparent()
    is_device = parent is not None and parent.tag == "devices"
    name = (device_key(part) or word(part)) if is_device else word(part)
    inside = f" in {name}" if name != word(element) else ""
    return f"libvirt's schema refuses {what}{inside}"


def _said(schema: etree.RelaxNG, root: Element) -> str:
    schema.validate(root)
    return "; ".join(dict.fromkeys(entry.message for entry in schema.error_log)) or "without a reason"
