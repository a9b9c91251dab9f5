"""Headers of images as cls_rbd writes them: strategies, and their encoding."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from virtrbd.ceph.bindings import rbd
from virtrbd.ceph.header import ParentKey

U64 = st.integers(0, 2**64 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A snapshot as cls_rbd keeps it; `kind` 0 is a person's."""

    name: str
    kind: int


snapshots = st.dictionaries(U64, st.builds(Written, name=TEXT, kind=st.integers(0, 3)), max_size=5)
parents = st.none() | st.builds(
    ParentKey, pool_id=st.integers(0, 2**63 - 1), namespace=TEXT, image_id=NAMES, snapshot_id=U64
)
metadata = st.dictionaries(NAMES, TEXT, max_size=5)
# Whole seconds: a float has no room for the nanoseconds of today's.
headers = st.fixed_dictionaries(
    {
        "size": U64,
        "order": st.integers(12, 25),
        "features": U64.map(lambda bits: bits & ~rbd.RBD_FEATURE_MIGRATING),
        "created": st.integers(0, 2**32 - 1),
        "snapshots": snapshots,
        "metadata": metadata,
        "parent": parents,
    }
)


def string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<I", len(data)) + data


def versioned(version: int, compat: int, body: bytes) -> bytes:
    """ENCODE_START of Ceph's encoding."""
    return struct.pack("<BBI", version, compat, len(body)) + body


def encoded_snapshot(snapshot_id: int, written: Written) -> bytes:
    """cls_rbd_snap::encode, version 8."""
    former = string(written.name) + struct.pack("<I", 0) if written.kind == 2 else b""
    kind = versioned(1, 1, struct.pack("<I", written.kind) + former)
    body = struct.pack("<Q", snapshot_id) + string(written.name) + struct.pack("<QBQ", 2**30, 2, 0) + kind
    return versioned(8, 8, body + struct.pack("<II", 1000, 0) + struct.pack("<I", 0))


def encoded_clones(clones: Sequence[ParentKey]) -> bytes:
    """A set of cls::rbd::ChildImageSpec, version 2."""
    return struct.pack("<I", len(clones)) + b"".join(
        versioned(2, 1, struct.pack("<q", each.pool_id) + string(each.image_id) + string(each.namespace))
        for each in clones
    )


def encoded_parent(parent: ParentKey) -> bytes:
    """cls_rbd_parent::encode, version 2: with the overlap behind."""
    body = struct.pack("<q", parent.pool_id) + string(parent.namespace) + string(parent.image_id)
    return versioned(2, 1, body + struct.pack("<Q", parent.snapshot_id) + struct.pack("<BQ", 1, 2**30))


def encoded(header: dict[str, Any]) -> dict[str, bytes]:
    values = {
        "size": struct.pack("<Q", header["size"]),
        "order": struct.pack("<B", header["order"]),
        "features": struct.pack("<Q", header["features"]),
        "create_timestamp": struct.pack("<II", header["created"], 0),
        "object_prefix": string("rbd_data.1"),
        "snap_seq": struct.pack("<Q", 0),
    }
    values |= {f"snapshot_{i:016x}": encoded_snapshot(i, s) for i, s in header["snapshots"].items()}
    values |= {f"metadata_{key}": value.encode() for key, value in header["metadata"].items()}
    if header["parent"]:
        values["parent"] = encoded_parent(header["parent"])
    return values
