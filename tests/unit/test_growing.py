"""The sizes by which a running guest's encrypted disk grows, with the two meanings that Ceph gives to a size."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from virtrbd.errors import HypervisorError
from virtrbd.hypervisor.growing import sizes_of_encrypted

MIB = 2**20
SIZES = st.integers(1, 2**20).map(lambda count: count * MIB)


@given(header=SIZES, shown=SIZES, more=SIZES, adds_header=st.booleans())
def test_the_image_gets_the_size_that_was_asked_for(header: int, shown: int, more: int, *, adds_header: bool) -> None:
    """`adds_header`: as Ceph 18 does, and QEMU's own LUKS."""
    assume(more >= header)
    image = header + shown
    wanted = image + more
    sizes = sizes_of_encrypted("vda", shown, image, wanted)
    for size in sizes:
        if image - header < sizes[0]:
            grown = size + header if adds_header else size
            assert grown >= image, "it never shrinks"
            image = grown
    assert image == wanted
    assert image - header == sizes[0], "the guest sees what was asked for"


@given(header=SIZES, shown=SIZES, data=st.data())
def test_a_growth_that_might_shrink_it_is_refused(header: int, shown: int, data: st.DataObject) -> None:
    more = data.draw(st.integers(1, header - 1))
    with pytest.raises(HypervisorError, match=r"can only grow by .* \(its header\) or more"):
        sizes_of_encrypted("vda", shown, header + shown, header + shown + more)


def test_an_image_that_has_its_size_is_left_alone() -> None:
    assert sizes_of_encrypted("vda", 16 * MIB, 32 * MIB, 32 * MIB) == []
