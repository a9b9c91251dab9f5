"""The sources of a domain's disks: whether an edit changes them, and texts for messages. Pure."""

from collections.abc import Collection

from virtrbd.domainxml.document import Definition, Edited
from virtrbd.domainxml.parse import parse_image
from virtrbd.domainxml.tree import Element, attribute, device_steps

# The parts of a <source> that identify the data (libvirt's docs/formatdomain); the rest says how to reach them.
_NAMES = ("protocol", "name", "query", "file", "dev", "dir", "pool", "volume", "path", "namespace")
_PARTS = ("snapshot", "slices/slice", "address")
# Their content may change at any time.
_DRIVES = frozenset({"cdrom", "floppy"})


def moved_disks(before: Definition, after: Edited, monitors: Collection[str], own: Collection[str]) -> frozenset[str]:
    """Return the steps of the disks whose source an edit changes.

    `monitors` are the addresses of this cluster's; the `own` disks, by step, are on it, with any earlier monitors.
    """
    held = dict(device_steps(before.tree))
    return frozenset(
        name
        for name, disk in device_steps(after.tree)
        if disk.tag == "disk"
        and name in held
        and not {disk.get("device", ""), held[name].get("device", "")} <= _DRIVES
        and (_data(held[name]) != _data(disk) or _is_moved(held[name], disk, monitors, is_own=name in own))
    )


def medium(disk: Element | None) -> str:
    """Return a text for the medium of a drive, "" for none: an image, a file, a volume, anything that libvirt takes."""
    if disk is None:
        return ""
    names = [attribute(disk, "source", name) for name in _NAMES if name != "protocol"]
    return str(parse_image(disk) or "/".join(filter(None, names)))


def _data(disk: Element) -> list[object]:
    parts = [part for path in _PARTS for part in disk.findall(f"source/{path}")]
    return [
        disk.get("type", ""),
        *(attribute(disk, "source", name) for name in _NAMES),
        *(sorted((str(name), str(value)) for name, value in part.attrib.items()) for part in parts),
    ]


def _is_moved(held: Element, disk: Element, monitors: Collection[str], *, is_own: bool) -> bool:
    """Whether a source of the same name is on another server; a cluster whose monitors moved keeps some for a while."""
    before, after = _hosts(held, monitors), _hosts(disk, monitors)
    return before.isdisjoint(after) and bool(before or after) and not (is_own and not after.isdisjoint(monitors))


def _hosts(disk: Element, monitors: Collection[str]) -> frozenset[str]:
    hosts = disk.findall("source/host")
    if attribute(disk, "source", "protocol") == "rbd":
        # A source without monitors takes them from ceph.conf.
        return frozenset(host.get("name", "") for host in hosts) or frozenset(monitors)
    return frozenset(" ".join(map(str, host.attrib.values())) for host in hosts)
