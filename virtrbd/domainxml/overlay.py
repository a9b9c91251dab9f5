"""A spec's `xml:`: elements of a libvirt domain, read under limits and merged into what virtrbd renders.

The rules are those of templates (parts): an element of which a domain has one is merged, devices by their key.
"""

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from textwrap import indent

from lxml import etree
from msgspec import Struct

from virtrbd.domainxml.document import NAMESPACE, Rendered
from virtrbd.domainxml.duplicates import lay_parts
from virtrbd.domainxml.image_uses import named_images
from virtrbd.domainxml.order import set_in_order
from virtrbd.domainxml.parsing import UnparsedError, parse_strictly
from virtrbd.domainxml.passwords import PASSWORD
from virtrbd.domainxml.tree import (
    Element,
    attribute,
    children,
    device_steps,
    devices_of,
    steps,
    to_text,
    word,
)
from virtrbd.model.element_path import ElementPath
from virtrbd.model.image import ImageRef
from virtrbd.model.image_use import Role

_QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"
# On the text's own first line, so that lines are the text's.
_BEGIN, _END = f'<domain xmlns:qemu="{_QEMU}">', "</domain>"

# By libxml2 the schema takes these beside name and UUID only.
_GENERAL = frozenset({"genid", "hwuuid"})
_TRAILING = re.compile(r"[ \t](?=\n)")
# Elements that only the spec's own fields may state.
_SPECS_OWN = {
    "name": "the domain's name is the spec's `name:`",
    "uuid": "the domain's UUID is the spec's `uuid:`",
    "domain": "write what is inside <domain>, without it",
}
# Users write them as for virsh attach-device; the schema would only say that <domain> has no such child.
_DEVICES = frozenset({
    "audio", "channel", "console", "controller", "disk", "emulator", "filesystem", "graphics", "hostdev", "hub",
    "input", "interface", "iommu", "lease", "memballoon", "panic", "parallel", "redirdev", "redirfilter", "rng",
    "serial", "shmem", "smartcard", "sound", "tpm", "video", "vsock", "watchdog",
})  # fmt: skip


class Named(Struct, frozen=True, kw_only=True):
    """An element of the text: its path in the domain, and the line of the text that it begins in."""

    path: ElementPath
    xml: str
    line: int


def overlay_problems(text: str) -> Iterator[tuple[int, str]]:
    """Yield the problems of the text of an `xml:`, for any domain: the line of the text, and the reason."""
    try:
        root = _read(text)
    except UnparsedError as error:
        # A missing end tag is reported behind the last line.
        yield min(error.line, len(text.splitlines())), f"cannot be read: {error}"
        return
    for node in root.iter():
        if isinstance(node, etree._ProcessingInstruction | etree._Entity):
            yield _line(node), "a processing instruction or an entity is not a part of a domain; leave it out"
    for element in root.iter(etree.Element):
        if why := _why_not(element, root):
            yield _line(element), why
    for text_between in (root.text, *(child.tail for child in root)):
        if (text_between or "").strip():
            yield 1, f"{(text_between or '').strip()[:40]!r} is not an element; write elements only"


def _why_not(element: Element, root: Element) -> str:
    if element is root:
        return ""
    parent = element.getparent()
    if parent is root and element.tag in _SPECS_OWN:
        return _SPECS_OWN[str(element.tag)]
    if parent is root and element.tag in _DEVICES:
        return f"<{element.tag}> is a device; write it inside <devices>"
    if any(around.tag == "metadata" for around in element.iterancestors()):
        is_own = etree.QName(element).namespace == NAMESPACE
        return "this is virtrbd's own mark, which it writes itself; leave it out" if is_own else ""
    if PASSWORD in element.attrib:
        return (
            f"{PASSWORD} does not belong into a spec, because libvirt does not show it again; leave it out, and "
            f"set it with virsh edit: a redefinition keeps it"
        )
    names = [etree.QName(str(name)) for name in (element.tag, *element.attrib)]
    foreign = next((name for name in names if name.namespace not in (None, _QEMU)), None)
    return f"{foreign.localname} is of a namespace that libvirt does not know; leave it out" if foreign else ""


def lay_over(rendered: Rendered, text: str) -> Rendered:
    """Return the rendered document with the elements of an `xml:` merged into it."""
    root = rendered.copy()
    laid_over(root, text)
    return Rendered(to_text(root))


def laid_over(root: Element, text: str) -> Mapping[Element, int]:
    """Merge the elements of an `xml:` into a tree; return the line of the text for each changed element."""
    overlay = _read(text)
    lines = {element: _line(element) for element in overlay.iter(etree.Element)}
    devices = devices_of(overlay)
    root.extend(list(children(overlay)))
    merged = lay_parts(root)
    bases = {part: base for base, part in merged}
    for general in [each for each in children(root) if each.tag in _GENERAL]:
        _set_behind(root.find("uuid"), general)
    set_in_order([bases.get(device, device) for device in devices])
    return lines | {base: lines[part] for base, part in merged if part in lines}


def _set_behind(before: Element | None, element: Element) -> None:
    if before is not None:
        before.addnext(element)


def named_elements(text: str) -> Iterator[Named]:
    """Yield the elements of an `xml:`, each device by itself."""
    root = _read(text)
    tops = [(ElementPath(name), element) for name, element in steps(root) if element.tag != "devices"]
    devices = [(ElementPath.of_device(name), device) for name, device in device_steps(root)]
    for path, element in (*tops, *devices):
        yield Named(path=path, xml=one_line(element), line=_line(element))


def one_line(element: Element) -> str:
    """Return an element for a list."""
    bare = copy.deepcopy(element)
    bare.tail = None
    return " ".join(line.strip() for line in _without_namespace(to_text(bare)).splitlines())


def overlay_text(tops: Sequence[Element], devices: Sequence[Element]) -> str:
    """Return elements as the readable text of an `xml:`, which YAML keeps as it is."""
    inside = "".join(map(_text, devices))
    parts = [*map(_text, tops), f"<devices>\n{indent(inside, '  ')}</devices>\n" if devices else ""]
    return "".join(parts)


def _text(element: Element) -> str:
    etree.indent(element)
    text = _without_namespace(etree.tostring(element, encoding="unicode", with_tail=False))
    # Characters that a spec may not hold, or that would make YAML quote the whole text.
    text = _TRAILING.sub(_reference, text)
    return "".join(each if each.isprintable() or each == "\n" else _reference(each) for each in text) + "\n"


def _reference(character: str | re.Match[str]) -> str:
    return f"&#{ord(character[0])};"


def _without_namespace(xml: str) -> str:
    """Return the text without the one namespace that every `xml:` has."""
    return xml.replace(f' xmlns:qemu="{_QEMU}"', "")


def images_written(text: str) -> tuple[ImageRef, ...]:
    """Return the images that an `xml:` lets QEMU write to, in any way, sorted."""
    try:
        uses = named_images(_read(text)).images
    except UnparsedError:
        return ()
    kept = (Role.BASE, Role.SHARED_DISK)
    return tuple(sorted({use.ref for use in uses if use.role not in kept and not use.ref.snapshot}))


def macs_written(text: str) -> tuple[str, ...]:
    """Return the MACs of the interfaces that an `xml:` holds, sorted."""
    try:
        found = _read(text).iterfind("devices/interface/mac[@address]")
    except UnparsedError:
        return ()
    return tuple(sorted({mac.get("address", "").lower() for mac in found}))


def renamed_sources(text: str) -> Iterator[tuple[int, str]]:
    """Yield the targets of disks to which an `xml:` gives a source by name, with their lines."""
    for disk in _read(text).iterfind("devices/disk"):
        if any(attribute(disk, "source", name) for name in ("name", "protocol", "file", "dev", "volume", "dir")):
            yield _line(disk), attribute(disk, "target", "dev")


def disks_with_monitors(text: str) -> Iterator[tuple[int, str]]:
    """Yield the targets of disks to which an `xml:` gives monitors, with their lines."""
    for disk in _read(text).iterfind("devices/disk"):
        if (host := disk.find("source/host")) is not None:
            yield _line(host), attribute(disk, "target", "dev")


def config_files(text: str) -> Iterator[tuple[int, str]]:
    """Yield the ceph.conf files that sources of an `xml:` name, with their lines."""
    for config in _read(text).iter("config"):
        if (parent := config.getparent()) is not None and word(parent) == "source":
            yield _line(config), config.get("file", "")


def _line(node: Element) -> int:
    # lxml's stubs have no type for it.
    line: object = node.sourceline
    return line if isinstance(line, int) else 1


def _read(text: str) -> Element:
    return parse_strictly(f"{_BEGIN}{text}{_END}")
