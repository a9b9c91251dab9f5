"""The update mode of each difference in a running guest: live, at its next boot, or only by a new guest.

What libvirt and QEMU change live: qemuDomainAttachDeviceLive, qemuDomainDetachDeviceLive and
qemuDomainChangeDiskLive (libvirt's qemu_driver.c, qemu_hotplug.c); of disks nearly every other field is fixed.
"""

import re
from collections.abc import Mapping

from msgspec import Struct, field

from virtrbd.domainxml.tree import Element, attribute
from virtrbd.model.difference import Mend
from virtrbd.model.element_path import ElementPath

# ide and sata have no hot-plug in QEMU ("Bus 'ide.0' does not support hotplugging").
_PLUGGABLE = frozenset({"virtio", "scsi", "usb"})
# libvirt 9.0 fails to plug an empty drive ("argument key 'filename' must not have null value").
_DISKS = frozenset({"", "disk", "lun"})


class _UpdateMode(Struct, frozen=True, kw_only=True):
    """The paths into devices whose step a pattern matches whole, or beside all devices, whose rest another one matches.

    `where` narrows it to devices whose attribute is among these values.
    """

    device: str = ""
    inside: str
    mend: Mend
    where: Mapping[str, frozenset[str]] = field(default_factory=dict)


_RULES = (
    _UpdateMode(device="disk:.+", inside="", mend=Mend.LIVE, where={"target/@bus": _PLUGGABLE, "./@device": _DISKS}),
    _UpdateMode(device="disk:.+", inside="iotune(/.*)?", mend=Mend.LIVE),
    # A guest must not see its medium inserted again because the monitors have other names.
    _UpdateMode(device="disk:.+", inside="source/host", mend=Mend.NEXT_BOOT),
    _UpdateMode(
        device="disk:.+", inside="@type|source(/.*)?", mend=Mend.LIVE, where={"./@device": frozenset({"cdrom"})}
    ),
    _UpdateMode(device="interface:.+", inside="(link(/@state)?)?", mend=Mend.LIVE),
    _UpdateMode(device=r"controller:scsi:\d+", inside="", mend=Mend.LIVE),
    _UpdateMode(inside="currentMemory", mend=Mend.LIVE),
    _UpdateMode(inside="vcpu/@current", mend=Mend.LIVE),
    _UpdateMode(inside="title|description", mend=Mend.LIVE),
    _UpdateMode(inside="uuid|name", mend=Mend.REBUILD),
)


def mend_of(path: ElementPath, device: Element | None) -> Mend:
    """Return how a difference at the path is mended; `device` is the device that the path leads into, if any."""
    for rule in _RULES:
        is_there = re.fullmatch(rule.device, path.device) and re.fullmatch(rule.inside, path.inside)
        if is_there and _is_such(device, rule.where):
            return rule.mend
    return Mend.NEXT_BOOT


def _is_such(device: Element | None, where: Mapping[str, frozenset[str]]) -> bool:
    for place, values in where.items():
        path, _, name = place.rpartition("/@")
        if attribute(device, path, name) not in values:
            return False
    return True
