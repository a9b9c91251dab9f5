"""Object maps: what exists and what was written, counted from their bytes."""

import struct
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from virtrbd.ceph.object_maps import Amount, MapOf, amount_of

OBJECT = 4096


def encoded(states: Sequence[int]) -> bytes:
    """As ceph::BitVector<2> is: its header, four states a byte, the first in the highest bits; then checksums."""
    header = struct.pack("<IBBIQ", 14, 1, 1, 8, len(states))
    padded = [*states, *[0] * (-len(states) % 4)]
    data = bytes(
        a << 6 | b << 4 | c << 2 | d
        for a, b, c, d in zip(padded[::4], padded[1::4], padded[2::4], padded[3::4], strict=True)
    )
    return header + data + b"\xff" * 12


def map_of(objects: int) -> MapOf:
    return MapOf(image_id="1", snapshot_id=0, size_bytes=objects * OBJECT, object_bytes=OBJECT)


@given(st.lists(st.integers(0, 3), max_size=70))
def test_it_counts_what_exists_and_what_was_written(states: list[int]) -> None:
    existing = sum(state != 0 for state in states)
    written = sum(state in (1, 2) for state in states)
    expected = Amount(existing_bytes=existing * OBJECT, written_bytes=written * OBJECT)
    assert amount_of(map_of(len(states)), encoded(states)) == expected


@given(st.lists(st.integers(0, 3), min_size=5, max_size=70))
def test_a_map_that_is_cut_short_or_of_a_smaller_image_is_not_known(states: list[int]) -> None:
    cut = encoded(states)[: 18 + (len(states) + 3) // 4 - 1]
    assert amount_of(map_of(len(states)), cut) is None
    assert amount_of(map_of(len(states) + 1), encoded(states)) is None


@given(raw=st.binary(max_size=60), size=st.integers(0, 2**64 - 1), order=st.integers(0, 255))
def test_garbage_never_raises_and_never_counts_more_than_the_image(raw: bytes, size: int, order: int) -> None:
    of = MapOf(image_id="1", snapshot_id=1, size_bytes=size, object_bytes=1 << order)
    found = amount_of(of, raw)
    assert found is None or 0 <= found.written_bytes <= found.existing_bytes <= size
