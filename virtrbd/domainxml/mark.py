"""virtrbd's own metadata element in a domain's XML."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from lxml import etree

from virtrbd.domainxml.document import NAMESPACE
from virtrbd.domainxml.former_steps import keyed_now, path_now, steps_now
from virtrbd.domainxml.tree import MARK_TAG, Element, devices_of, remove
from virtrbd.model.digest import digest_of
from virtrbd.model.duration import LATEST
from virtrbd.model.element_path import ROOT, ElementPath
from virtrbd.model.mark import DomainMark, ForeignChange, Hold

# libxml2 refuses deeper documents.
_MOST_STEPS = 256


def mark_element(mark: DomainMark) -> Element:
    """Return the mark as an element."""
    element = etree.Element(MARK_TAG, nsmap={"virtrbd": NAMESPACE})
    for name, value in (
        ("uuid", mark.uuid), ("host", mark.host), ("inputs", mark.inputs), ("definition", mark.definition),
        ("balloon", str(mark.balloon_bytes or "")), ("generation", mark.generation),
    ):  # fmt: skip
        if value:
            element.set(name, value)
    places = {ElementPath.of_device(name): place for name, place in mark.places}
    for of, parts in _by_element(mark.stated).items():
        child = etree.SubElement(element, f"{{{NAMESPACE}}}states")
        child.set("of", of.text)
        if parts != [""]:
            child.set("parts", " ".join(part or "." for part in parts))
        if of in places:
            child.set("at", places[of])
    if mark.forms:
        _add(element, "forms", of=" ".join(mark.forms))
    for change in mark.foreign:
        _add(element, "foreign", path=str(change.path), was=change.was, found=change.found)
    for path in mark.ignored:
        _add(element, "ignores", path=path.text)
    if mark.hold:
        until = "" if mark.hold.until is None else repr(mark.hold.until)
        _add(element, "hold", until=until, why=mark.hold.why)
    return element


def _add(element: Element, name: str, **attributes: str) -> None:
    child = etree.SubElement(element, f"{{{NAMESPACE}}}{name}")
    for key, value in attributes.items():
        if value:
            child.set(key, value)


def _by_element(stated: Sequence[ElementPath]) -> dict[ElementPath, list[str]]:
    """Return the ways from each device and each child of the root, empty for that itself."""
    found: dict[ElementPath, list[str]] = {}
    for path in stated:
        found.setdefault(path.top, []).append(path.below(path.top))
    return found


def _stated(element: Element) -> Iterator[ElementPath]:
    # A path with more steps than a document has levels was written by hand, and leads nowhere.
    return (ElementPath(text) for text in _stated_texts(element) if text.count("/") < _MOST_STEPS)


def _stated_texts(element: Element) -> Iterator[str]:
    # Marks of the first version list devices and their parts by key alone.
    yield from (f"devices/{child.get('key', '')}" for child in element if child.get("key"))
    for child in element.iterfind(f"{{{NAMESPACE}}}states"):
        of = child.get("of", "")
        for part in child.get("parts", ".").split():
            yield of if part == "." else f"{of}/{part}"


def _foreign(element: Element, now: Mapping[ElementPath, ElementPath]) -> Iterator[ForeignChange]:
    for child in element.iterfind(f"{{{NAMESPACE}}}foreign"):
        path = ElementPath(child.get("path", ""))
        yield ForeignChange(path=path_now(path, now), was=child.get("was", ""), found=child.get("found", ""))


def _ignored(element: Element, now: Mapping[ElementPath, ElementPath]) -> Iterator[ElementPath]:
    for child in element.iterfind(f"{{{NAMESPACE}}}ignores"):
        path = ElementPath(child.get("path", ""))
        # The whole domain, as only a mark that was edited by hand can say: virtrbd would manage nothing of it.
        if path != ROOT:
            yield path_now(path, now)


def _hold(element: Element) -> Hold | None:
    child = element.find(f"{{{NAMESPACE}}}hold")
    if child is None:
        return None
    try:
        until = float(child.get("until", "")) if "until" in child.attrib else None
    except ValueError:
        until = None
    if until is not None and not 0 <= until < LATEST:
        # It was written by hand, with an invalid time: it holds until it is released.
        until = None
    return Hold(until=until, why=child.get("why", ""))


def mark_text(mark: DomainMark) -> str:
    """Return the element as setMetadata takes it: without the prefix, which libvirt adds itself."""
    element = mark_element(mark)
    for child in element.iter():
        child.tag = etree.QName(child).localname
    etree.cleanup_namespaces(element)
    return etree.tostring(element, encoding="unicode")


def read_mark(root: Element) -> DomainMark | None:
    """Return the domain's mark, or None when there is none that counts.

    `virsh dumpxml | edit | define` copies the element into another domain: it counts only for its own UUID.
    """
    element = _own_mark(root)
    if element is None:
        return None
    stated = tuple(_stated(element))
    places = dict(_places(element, stated))
    # A mark with places has today's steps of devices.
    named = [*stated, *(ElementPath(child.get("path", "")) for child in element)]
    now = {**keyed_now(root, named), **({} if places else steps_now(root, stated))}
    return DomainMark(
        uuid=element.get("uuid", ""),
        host=element.get("host", ""),
        inputs=element.get("inputs", ""),
        definition=element.get("definition", ""),
        stated=tuple(path_now(path, now) for path in stated),
        foreign=tuple(_foreign(element, now)),
        ignored=tuple(_ignored(element, now)),
        hold=_hold(element),
        balloon_bytes=_number(element.get("balloon", "")),
        generation=element.get("generation", ""),
        places=tuple(sorted(places.items())),
        forms=tuple(
            form for child in element.iterfind(f"{{{NAMESPACE}}}forms") for form in child.get("of", "").split()
        ),
    )


def has_own_mark(root: Element) -> bool:
    """Whether the domain has a mark that counts."""
    return _own_mark(root) is not None


def _own_mark(root: Element) -> Element | None:
    element = root.find(f"metadata/{MARK_TAG}")
    is_own = element is not None and element.get("uuid") and element.get("uuid") == root.findtext("uuid")
    return element if is_own else None


def _places(element: Element, stated: Sequence[ElementPath]) -> Iterator[tuple[str, str]]:
    known = _by_element(stated).keys()
    for child in element.iterfind(f"{{{NAMESPACE}}}states[@at]"):
        path = ElementPath(child.get("of", ""))
        if path.is_device and path in known:
            yield path.device, child.get("at", "")


def _number(text: str) -> int:
    # The mark may have been edited by hand.
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else 0


def set_mark(root: Element, mark: DomainMark) -> None:
    """Put the mark into a tree, instead of an older mark."""
    drop_mark(root)
    metadata = root.find("metadata")
    if metadata is None:
        metadata = etree.SubElement(root, "metadata")
    metadata.append(mark_element(mark))


def drop_mark(root: Element) -> None:
    """Remove the mark from a tree."""
    for old in root.findall(f"metadata/{MARK_TAG}"):
        remove(old)


def digest_without_mark(root: Element, text_of: Callable[[Element], str]) -> str:
    """Return the digest of a definition without the mark, with its devices sorted; the tree is left like that.

    libvirt re-orders devices over a restart; sorted by content the document is stable.
    """
    drop_mark(root)
    metadata = root.find("metadata")
    if metadata is not None and len(metadata) == 0:
        root.remove(metadata)
    devices = root.find("devices")
    if devices is not None:
        devices[:] = sorted(devices_of(root), key=text_of)
    return digest_of(text_of(root))
