"""The growth of a running guest's encrypted disk, with the two meanings that Ceph gives to its size."""

from dataclasses import dataclass, field

import pytest

from virtrbd.errors import HypervisorError
from virtrbd.hypervisor.growing import grow_disk

MIB = 2**20
HEADER = 16 * MIB
XML = "<domain><devices><disk><target dev='vda'/><encryption format='luks2'/></disk></devices></domain>"


@dataclass(slots=True)
class Guest:
    """A running domain whose image has a header. `adds_header`: as Ceph 18 does, and QEMU's own LUKS."""

    adds_header: bool
    image: int = 32 * MIB
    sizes: list[int] = field(default_factory=list)

    def XMLDesc(self, _flags: int = 0) -> str:  # noqa: N802
        return XML

    def blockInfo(self, _target: str) -> list[int]:  # noqa: N802
        return [self.image - HEADER] * 3

    def blockResize(self, _target: str, size: int, _flags: int) -> None:  # noqa: N802
        self.image = size + HEADER if self.adds_header else size
        self.sizes.append(self.image)


@pytest.mark.parametrize("adds_header", [False, True])
@pytest.mark.parametrize("to_bytes", [48 * MIB, 1024 * MIB])
def test_the_image_gets_the_size_that_was_asked_for(to_bytes: int, *, adds_header: bool) -> None:
    guest = Guest(adds_header)
    assert grow_disk(guest, "vda", 32 * MIB, to_bytes)
    assert guest.image == to_bytes
    assert min(guest.sizes) >= 32 * MIB, "it never shrinks"


@pytest.mark.parametrize("adds_header", [False, True])
def test_a_growth_that_might_shrink_it_is_refused(*, adds_header: bool) -> None:
    guest = Guest(adds_header)
    with pytest.raises(HypervisorError, match="can only grow by 16 MiB"):
        grow_disk(guest, "vda", 32 * MIB, 40 * MIB)
    assert not grow_disk(guest, "vda", 32 * MIB, 32 * MIB)
    assert guest.sizes == []
