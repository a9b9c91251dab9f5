"""virtrbd's own metadata element in a domain's XML."""

from collections.abc import Iterator, Sequence

from lxml import etree

from virtrbd.domainxml.tree import MARK_TAG, NAMESPACE, Element, devices_of, parse_tree
from virtrbd.model.digest import digest_of
from virtrbd.model.domain import DomainMark


def mark_element(mark: DomainMark) -> Element:
    """Return the element that says a domain is ours."""
    element = etree.Element(MARK_TAG, nsmap={"virtrbd": NAMESPACE})
    for name, value in (
        ("uuid", mark.uuid), ("host", mark.host), ("inputs", mark.inputs), ("definition", mark.definition)
    ):  # fmt: skip
        if value:
            element.set(name, value)
    for of, parts in _by_element(mark.stated).items():
        child = etree.SubElement(element, f"{{{NAMESPACE}}}states")
        child.set("of", of)
        if parts != [""]:
            child.set("parts", " ".join(part or "." for part in parts))
    return element


def _by_element(stated: Sequence[str]) -> dict[str, list[str]]:
    """Return the paths below each device and each child of the root, empty for that itself."""
    found: dict[str, list[str]] = {}
    for path in stated:
        names = path.split("/")
        length = 2 if names[0] == "devices" else 1
        found.setdefault("/".join(names[:length]), []).append("/".join(names[length:]))
    return found


def _stated(element: Element) -> Iterator[str]:
    for child in element:
        of = child.get("of")
        if of is None:
            # Marks of the first version list devices and their parts by key alone.
            yield f"devices/{child.get('key', '')}"
            continue
        for part in child.get("parts", ".").split():
            yield of if part == "." else f"{of}/{part}"


def mark_text(mark: DomainMark) -> str:
    """Return the element as setMetadata takes it: without the prefix, which libvirt adds itself."""
    element = mark_element(mark)
    for child in element.iter():
        child.tag = etree.QName(child).localname
    etree.cleanup_namespaces(element)
    return etree.tostring(element, encoding="unicode")


def read_mark(xml: str) -> DomainMark | None:
    """Return the domain's mark, or None when there is none that counts.

    `virsh dumpxml | edit | define` copies the element into another domain: it counts only for its own UUID.
    """
    root = parse_tree(xml)
    element = root.find(f"metadata/{MARK_TAG}")
    if element is None or element.get("uuid") != root.findtext("uuid"):
        return None
    return DomainMark(
        uuid=element.get("uuid", ""),
        host=element.get("host", ""),
        inputs=element.get("inputs", ""),
        definition=element.get("definition", ""),
        stated=tuple(_stated(element)),
    )


def set_mark(root: Element, mark: DomainMark) -> None:
    """Put the mark into a tree, in the place of an older one."""
    metadata = root.find("metadata")
    if metadata is None:
        metadata = etree.SubElement(root, "metadata")
    for old in metadata.findall(MARK_TAG):
        metadata.remove(old)
    metadata.append(mark_element(mark))


def definition_digest(xml: str) -> str:
    """Return the digest of a definition without our element, its devices sorted.

    libvirt re-orders devices over a restart; sorted by content the document is stable.
    """
    root = parse_tree(xml)
    metadata = root.find("metadata")
    if metadata is not None:
        for old in metadata.findall(MARK_TAG):
            metadata.remove(old)
        if len(metadata) == 0:
            root.remove(metadata)
    devices = root.find("devices")
    if devices is not None:
        devices[:] = sorted(devices_of(root), key=lambda child: etree.tostring(child, method="c14n"))
    return digest_of(etree.tostring(root, method="c14n"))
