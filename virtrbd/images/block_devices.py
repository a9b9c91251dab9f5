"""The RBD images behind this host's block devices, from the kernel.

Source: the kernel's Documentation/ABI/testing/sysfs-bus-rbd (pool, pool_ns, name, current_snap), and `slaves` of
device mapper and md devices (Documentation/ABI/stable/sysfs-block).
"""

import os
import re
from pathlib import Path

from virtrbd.model.image import ImageRef

_BLOCK = Path("/sys/class/block")
_RBD = Path("/sys/bus/rbd/devices")
_NUMBERED = re.compile(r"rbd(\d+)(?:p\d+)?")
# The kernel's word for "the image itself".
_NO_SNAPSHOT = "-"


def images_behind(path: str) -> tuple[ImageRef, ...] | None:
    """Return the images that the device, or its base, maps; None for an rbd device that is not mapped now."""
    name = os.path.basename(os.path.realpath(path))
    found = []
    for device in _with_slaves(name):
        numbered = _NUMBERED.fullmatch(device)
        if not numbered:
            continue
        ref = _mapped(numbered[1])
        if ref is None:
            return None
        found.append(ref)
    return tuple(sorted(set(found)))


def _with_slaves(name: str) -> list[str]:
    """Return the device and all devices that it is built on (LVM, RAID, encryption)."""
    found, pending = [], [name]
    while pending:
        device = pending.pop()
        if device in found:
            continue
        found.append(device)
        try:
            pending += os.listdir(_BLOCK / device / "slaves")
        except OSError:
            # No such device, or a device that is not built on others.
            continue
    return found


def _mapped(number: str) -> ImageRef | None:
    folder = _RBD / number
    try:
        pool, name = ((folder / word).read_text().strip() for word in ("pool", "name"))
        snapshot = (folder / "current_snap").read_text().strip()
    except OSError:
        return None
    try:
        namespace = (folder / "pool_ns").read_text().strip()
    except OSError:
        # Kernels before 4.19 have none.
        namespace = ""
    return ImageRef(pool=pool, namespace=namespace, name=name, snapshot="" if snapshot == _NO_SNAPSHOT else snapshot)
