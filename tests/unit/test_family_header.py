"""What a header says of an image's family: read as cls_rbd writes it, and garbage never raises."""

import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from support.headers import encoded, encoded_clones, headers, parents

from virtrbd.ceph.bindings import rbd
from virtrbd.ceph.family_header import FamilyHeader, decode_family
from virtrbd.model.image_details import SnapshotKind

FAST_DIFF = rbd.RBD_FEATURE_FAST_DIFF
KINDS = [SnapshotKind.USER, SnapshotKind.GROUP, SnapshotKind.TRASH, SnapshotKind.MIRROR]
clones = st.dictionaries(st.integers(0, 2**64 - 1), st.lists(parents.filter(bool), max_size=3), max_size=3)


def keys_of(header: dict[str, Any], clones: dict[int, list[Any]], flags: int = 0) -> dict[str, bytes]:
    children = {f"snap_children_{i:016x}": encoded_clones(each) for i, each in clones.items()}
    return encoded(header) | children | {"flags": struct.pack("<Q", flags)}


@given(header=headers, clones=clones)
def test_snapshots_and_clones_are_read_as_they_were_written(
    header: dict[str, Any], clones: dict[int, list[Any]]
) -> None:
    found = decode_family(keys_of(header, clones).items())
    assert found is not None
    written = {(i, each.name, KINDS[each.kind], 2**30, 1000.0, True) for i, each in header["snapshots"].items()}
    assert written == {
        (each.snapshot_id, each.label, each.kind, each.size_bytes, each.created_at, each.is_protected)
        for each in found.snapshots
    }
    assert [each.snapshot_id for each in found.snapshots] == sorted(header["snapshots"])
    named = {i: [(c.pool_id, c.namespace, c.image_id) for c in each] for i, each in clones.items()}
    assert named == {i: [(c.pool_id, c.namespace, c.image_id) for c in each] for i, each in found.clones.items()}
    if found.header.parent:
        assert found.header.parent.overlap_bytes == 2**30


@given(header=headers)
def test_a_map_counts_where_fast_diff_is_on_and_valid(header: dict[str, Any]) -> None:
    for features, flags, expected in (
        (FAST_DIFF, 0, True),
        (FAST_DIFF, 1, False),
        (FAST_DIFF, 2, False),
        (0, 0, False),
    ):
        found = decode_family(keys_of(header | {"features": features}, {}, flags).items())
        assert found is not None
        assert found.has_map is expected


@given(
    header=headers,
    garbage=st.dictionaries(
        st.sampled_from(["flags", "snapshot_0000000000000001", "snap_children_0000000000000001", "snap_children_x"]),
        st.binary(max_size=60),
    ),
)
def test_garbage_is_refused_and_never_raises(header: dict[str, Any], garbage: dict[str, bytes]) -> None:
    assert isinstance(decode_family((keys_of(header, {}) | garbage).items()), FamilyHeader | None)
