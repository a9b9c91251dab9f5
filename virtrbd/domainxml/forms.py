"""The forms that libvirt gave to what was stated: `slot="10"` is `0x0a` there, and 1 GiB is 1048576 KiB.

virtrbd has no rules for them: libvirt chose them when it got the statement. A mark records each form that differs, as
a digest of its path, of the statement and of libvirt's form. While both are unchanged, they are equal.
"""

import copy
from collections.abc import Iterable

from virtrbd.domainxml.passwords import PASSWORD
from virtrbd.domainxml.tree import Element, children, has_attribute, remove, step, word
from virtrbd.model.digest import digest_of
from virtrbd.model.element_path import ROOT, ElementPath

# Of a digest: a mark may hold hundreds of them.
_LENGTH = 16


def says_otherwise(wanted: Element, found: Element, listed: str) -> bool:
    """Whether an element itself, without its children, differs from what is wanted."""
    text = (wanted.text or "").strip()
    return (
        any(found.get(str(name)) != value for name, value in wanted.attrib.items())
        or bool(text and text != (found.text or "").strip())
        or bool(listed and _items(wanted, listed) != _items(found, listed))
    )


def form_of(path: ElementPath, wanted: Element, found: Element, listed: str, *, whole: bool = False) -> str:
    """Return the form of an element itself, with its children of the tag `listed`, or "" where none counts.

    Of the found element only what is stated, so that others may add to it; all of it where libvirt moved some of
    what is stated, or changed its kind (`whole`).
    """
    # libvirt does not show it, so it is unknown whether it changed.
    if has_attribute(wanted, PASSWORD):
        return ""
    names = set(map(str, wanted.attrib))
    shown = set(map(str, found.attrib))
    seen = shown if whole or not names <= shown else names
    text = (found.text or "").strip() if (wanted.text or "").strip() else ""
    said = (_attributes(wanted, names), (wanted.text or "").strip(), _items(wanted, listed))
    made = (_attributes(found, seen), text, _items(found, listed))
    return _digest("form", _text(path), repr(said), repr(made))


def absence_of(path: ElementPath, wanted: Element, parent: Element) -> str:
    """Return the form of an element that its parent lacks, or "": libvirt left it out, or replaced it."""
    if any(has_attribute(each, PASSWORD) for each in wanted.iter(tag="*")):
        return ""
    alike = [child for child in children(parent) if child.tag == wanted.tag]
    # Others may have removed or replaced a device.
    made = sorted(map(step, alike)) if parent.tag == "devices" else list(map(_whole, alike))
    return _digest("absent", _text(path), repr(_whole(wanted)), repr(made))


def take_form(wanted: Element, found: Element, listed: str, *, whole: bool) -> list[str]:
    """Write the wanted element itself in libvirt's form; `whole`: with everything else of that form.

    Return the attributes that libvirt does not have there.
    """
    names = [str(name) for name in wanted.attrib]
    for name in {*names, *(map(str, found.attrib) if whole else ())}:
        if has_attribute(found, name):
            wanted.set(name, found.get(name, ""))
    if (wanted.text or "").strip():
        wanted.text = found.text
    if listed:
        for item in wanted.findall(listed):
            remove(item)
        for index, item in enumerate(found.findall(listed)):
            wanted.insert(index, copy.deepcopy(item))
    return [name for name in names if not has_attribute(found, name)]


def _whole(element: Element) -> tuple[object, ...]:
    names = map(str, element.attrib)
    text = (element.text or "").strip()
    return word(element), _attributes(element, names), text, tuple(map(_whole, children(element)))


def _attributes(element: Element, names: Iterable[str]) -> list[tuple[str, str]]:
    return sorted((name, element.get(name, "")) for name in names)


def _items(element: Element, tag: str) -> list[tuple[object, ...]]:
    return [_whole(item) for item in element.findall(tag)] if tag else []


def _text(path: ElementPath) -> str:
    # Digests that are in marks have "" for the domain itself.
    return "" if path == ROOT else str(path)


def _digest(*parts: str) -> str:
    return digest_of(*parts)[:_LENGTH]
