"""Drift of a running guest alone: changes by `virsh … --live`, which its definition does not show."""

from virtrbd.domainxml.document import Definition, Document, LiveDocument, Rendered
from virtrbd.domainxml.drift import brief_element, shortened
from virtrbd.domainxml.ignoring import is_ignored
from virtrbd.domainxml.tree import MARK_TAG, Element, children, device_steps, steps
from virtrbd.model.element_path import ElementPath
from virtrbd.model.mark import ForeignChange

# What virsh sets of a device that runs (blkdeviotune, domif-setlink, domiftune).
_SET_LIVE = ("iotune", "link", "bandwidth")
# libvirt plugs a controller by itself for a disk that others attach; the disk is reported anyway.
_IMPLIED = frozenset({"controller"})
_METADATA = ElementPath("metadata")


def live_only_devices(live: LiveDocument, definition: Definition, ignored: tuple[ElementPath, ...]) -> tuple[str, ...]:
    """Return the devices that others attached only to the guest, by step."""
    stated = set(live.mark.stated) if live.mark else set()
    known = {name for name, _ in device_steps(definition.tree)}
    return tuple(
        name
        for name, device in device_steps(live.tree)
        if device.tag not in _IMPLIED
        and name not in known
        and ElementPath.of_device(name) not in stated
        and not is_ignored(ElementPath.of_device(name), ignored)
    )


def media_of_others(live: LiveDocument, definition: Definition, desired: Rendered) -> tuple[str, ...]:
    """Return the drives, by step, that should be empty and into which others put a file, only in the guest."""
    held, wanted = dict(device_steps(definition.tree)), dict(device_steps(desired.tree))
    empty = {name for name in held.keys() & wanted.keys() if _is_empty(held[name]) and _is_empty(wanted[name])}
    return tuple(
        name
        for name, drive in device_steps(live.tree)
        if name in empty and drive.get("type") == "file" and not _is_empty(drive)
    )


def settings_of_others(live: LiveDocument, definition: Definition, desired: Rendered) -> tuple[ForeignChange, ...]:
    """Return what others set on a disk or an interface of the running guest alone, where the spec states nothing."""
    held, wanted = dict(device_steps(definition.tree)), dict(device_steps(desired.tree))
    stated = live.mark.stated if live.mark else ()
    found = []
    for name, device in device_steps(live.tree):
        for word in _SET_LIVE if name in held else ():
            path, was, now = ElementPath.of_device(name) / word, _setting(held[name], word), _setting(device, word)
            is_ours = any(each.is_within(path) for each in stated)
            if was != now and not is_ours and (name not in wanted or wanted[name].find(word) is None):
                found.append(ForeignChange(path=path, was=was, found=now))
    return tuple(found)


def _setting(device: Element, word: str) -> str:
    element = device.find(word)
    if element is None:
        return ""
    parts = [f"{name!s}={value!s}" for name, value in element.attrib.items()]
    parts += [f"{child.tag!s}={(child.text or '').strip()}" for child in children(element)]
    return " ".join(parts)


def _is_empty(device: Element) -> bool:
    # An ejected drive keeps a <source index='…'/> without a name.
    source = device.find("source")
    return device.get("device") == "cdrom" and (source is None or set(map(str, source.attrib)) <= {"index"})


def words_of_others(live: LiveDocument, definition: Definition, desired: Rendered) -> tuple[ForeignChange, ...]:
    """Return the title, description and metadata that others gave only to the running domain."""
    held, wanted = _words(definition), _words(desired)
    stated = live.mark.stated if live.mark else ()
    return tuple(
        ForeignChange(path=path, was=held.get(path, ""), found=found)
        for path, found in _words(live).items()
        if found != held.get(path, "") and path not in wanted and path not in stated
    )


def _words(document: Document) -> dict[ElementPath, str]:
    """Return by path, in short, a domain's texts that its guest does not see."""
    root = document.tree
    found = {ElementPath(name): shortened(root.findtext(name) or "") for name in ("title", "description")}
    metadata = root.find("metadata")
    for name, element in steps(metadata) if metadata is not None else ():
        if element.tag != MARK_TAG:
            found[_METADATA / name] = brief_element(element)
    return {path: text for path, text in found.items() if text}
