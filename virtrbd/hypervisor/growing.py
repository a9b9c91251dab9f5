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
    held = _shown(domain, target)
    # libvirt shrinks silently.
    if held >= to_bytes:
        return False
    if is_encrypted(live_of(domain), target):
        return _grow_encrypted(domain, target, held, from_bytes, to_bytes)
    _resize(domain, target, to_bytes)
    return _is_seen(domain, target, to_bytes)


def _grow_encrypted(domain: Any, target: str, held: int, from_bytes: int, to_bytes: int) -> bool:
    """Grow an image of which the guest sees all but the header of its encryption.

    Ceph 16 takes the image's size, Ceph 18 the guest's and adds the header to it (measured); which of them QEMU loaded
    shows in what the first call does. It names the guest's size, and nothing that would shrink the image on Ceph 16.
    """
    if from_bytes == to_bytes:
        return False
    wanted, header = held + to_bytes - from_bytes, from_bytes - held
    if wanted < from_bytes:
        raise HypervisorError(
            f"growing {target}: it is encrypted and can only grow by {format_size(header)} (its header) or more while "
            f"the guest runs; choose a larger size, or shut the guest down first"
        )
    _resize(domain, target, wanted)
    if _shown(domain, target) < wanted:
        _resize(domain, target, to_bytes)
    return _is_seen(domain, target, wanted)


def _resize(domain: Any, target: str, to_bytes: int) -> None:
    domain.blockResize(target, to_bytes, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)


def _shown(domain: Any, target: str) -> int:
    return int(domain.blockInfo(target)[0])


def _is_seen(domain: Any, target: str, to_bytes: int) -> bool:
    held = _shown(domain, target)
    if held < to_bytes:
        raise HypervisorError(f"growing {target}: QEMU still says {held} bytes; restart the guest")
    return True
