"""The growth of a running guest's disk, by QEMU."""

from typing import Any

from virtrbd.errors import HypervisorError
from virtrbd.hypervisor.bindings import libvirt
from virtrbd.hypervisor.reading import live_of
from virtrbd.lazily import lazily
from virtrbd.model.size import format_size

with lazily():
    from virtrbd.domainxml.parse import is_encrypted


def grow_disk(domain: Any, target: str, from_bytes: int, to_bytes: int) -> bool:
    """Grow the image behind a disk, and let the guest see it; return whether the guest had less.

    Raises HypervisorError when QEMU does not show the new size afterwards, and libvirtError.
    """
    shown = _shown(domain, target)
    # libvirt shrinks silently.
    if shown >= to_bytes:
        return False
    sizes = [to_bytes]
    if is_encrypted(live_of(domain), target):
        sizes = sizes_of_encrypted(target, shown, from_bytes, to_bytes)
    for size in sizes:
        if shown < sizes[0]:
            domain.blockResize(target, size, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
            shown = _shown(domain, target)
    if sizes and shown < sizes[0]:
        raise HypervisorError(f"growing {target}: QEMU still says {shown} bytes; restart the guest")
    return bool(sizes)


def sizes_of_encrypted(target: str, shown: int, from_bytes: int, to_bytes: int) -> list[int]:
    """Return the sizes to give QEMU, one after the other until the guest sees the first of them; none where it does.

    The guest sees all of an encrypted image but the header. Ceph 16 takes the image's size, Ceph 18 the guest's and
    adds the header to it (measured); which of them QEMU loaded shows in what the first size does: it is the guest's,
    and would not shrink the image on Ceph 16. Raises HypervisorError where it would.
    """
    if from_bytes == to_bytes:
        return []
    wanted, header = shown + to_bytes - from_bytes, from_bytes - shown
    if wanted < from_bytes:
        raise HypervisorError(
            f"growing {target}: it is encrypted and can only grow by {format_size(header)} (its header) or more while "
            f"the guest runs; choose a larger size, or shut the guest down first"
        )
    return [wanted, to_bytes]


def _shown(domain: Any, target: str) -> int:
    return int(domain.blockInfo(target)[0])
