"""Headers of images as cls_rbd writes them: read back as they are, and what is none is refused, never raised."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from virtrbd.ceph.bindings import rbd
from virtrbd.ceph.class_calls import trash_spec
from virtrbd.ceph.header import MOST_KEYS, Header, ParentKey, decode_header, decode_id, decode_pairs, parent_key_of

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
    kind = versioned(1, 1, struct.pack("<I", written.kind))
    body = struct.pack("<Q", snapshot_id) + string(written.name) + struct.pack("<QBQ", 2**30, 0, 0) + kind
    return versioned(8, 8, body + struct.pack("<II", 0, 0) + struct.pack("<I", 0))


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


@given(header=headers)
def test_reads_what_cls_rbd_writes(header: dict[str, Any]) -> None:
    assert decode_header(encoded(header)) == Header(
        size_bytes=header["size"],
        order=header["order"],
        features=header["features"],
        created_at=header["created"],
        snapshots={i: s.name for i, s in header["snapshots"].items() if s.kind == 0},
        metadata=header["metadata"],
        parent=header["parent"],
    )


KEYS = st.sampled_from(
    ["size", "order", "features", "create_timestamp", "parent", "snapshot_0000000000000001", "metadata_virtrbd.owner"]
)


@given(header=headers, garbage=st.dictionaries(KEYS, st.binary(max_size=40)))
def test_garbage_is_refused_and_never_raises(header: dict[str, Any], garbage: dict[str, bytes]) -> None:
    assert isinstance(decode_header(encoded(header) | garbage), Header | None)
    assert decode_header(encoded(header) | {"size": b"short"}) is None


@given(header=headers, cut=st.integers(1, 60), key=KEYS)
def test_what_is_cut_off_is_refused(header: dict[str, Any], cut: int, key: str) -> None:
    values = encoded(header | {"snapshots": {1: Written(name="v1", kind=0)}, "metadata": {}})
    whole = values.get(key, b"")
    # Not all of it: a parent that is empty is what flattening leaves.
    part = whole[: max(1, len(whole) - cut)]
    # A cut may hit what virtrbd does not read: then nothing is different.
    assert decode_header(values | {key: part}) in (None, decode_header(values)) or not whole


@given(header=headers, key=st.sampled_from(["size", "order", "features", "create_timestamp"]))
def test_a_header_without_its_first_facts_is_none(header: dict[str, Any], key: str) -> None:
    values = encoded(header)
    del values[key]
    assert decode_header(values) is None


def header_of(**changed: object) -> dict[str, bytes]:
    plain = {"size": 1, "order": 22, "features": 61, "created": 1, "snapshots": {}, "metadata": {}, "parent": None}
    return encoded({**plain, **changed})


def test_what_migrates_is_to_be_opened() -> None:
    assert decode_header(header_of(features=rbd.RBD_FEATURE_MIGRATING)) is None


def test_what_may_have_more_keys_than_were_read_is_to_be_opened() -> None:
    values = header_of(metadata={f"key-{number}": "" for number in range(MOST_KEYS)})
    assert decode_header(values) is None


def test_a_snapshot_of_an_older_encoding_is_to_be_opened() -> None:
    values = header_of()
    values["snapshot_0000000000000001"] = versioned(4, 1, struct.pack("<Q", 1) + string("v1") + bytes(40))
    assert decode_header(values) is None


def test_a_flattened_clone_has_no_parent() -> None:
    header = decode_header(header_of() | {"parent": b""})
    assert header is not None
    assert header.parent is None


def test_a_flattened_clone_whose_snapshots_grow_from_its_parent_still_names_it() -> None:
    parent = ParentKey(pool_id=3, namespace="", image_id="ab", snapshot_id=7)
    whole = encoded_parent(parent)
    of_head, of_snapshots = parent_key_of(whole), parent_key_of(whole[:-9] + b"\0")
    assert (of_head, of_snapshots) == (parent, parent)
    assert of_head is not None
    assert of_snapshots is not None
    assert (of_head.is_of_head, of_snapshots.is_of_head) == (True, False)


@given(st.dictionaries(KEYS, st.none() | st.binary(max_size=60)))
def test_whatever_a_header_holds_it_is_read_or_not_and_never_raises(values: dict[str, bytes | None]) -> None:
    whole = {"size": b"\0" * 8, "order": b"\x16", "features": b"\0" * 8, "create_timestamp": b"\0" * 8}
    for pairs in (values.items(), (whole | values).items()):
        found = decode_pairs(pairs)
        assert found is None or isinstance(found, Header)


def test_a_key_that_the_bindings_cannot_decode_leaves_the_image_to_be_opened() -> None:
    def pairs() -> Iterator[tuple[str, bytes]]:
        yield "size", b"\0" * 8
        yield b"metadata_\xff".decode(), b""

    assert decode_pairs(pairs()) is None


@given(st.binary(max_size=40))
def test_an_id_is_whole_and_names_an_object_or_is_none(raw: bytes) -> None:
    found = decode_id(raw)
    assert not found or (string(found) == raw and found.isprintable())


@given(name=TEXT, state=st.integers(0, 3), garbage=st.binary(max_size=80))
def test_an_entry_of_the_trash_is_read_back_and_garbage_is_none(name: str, state: int, garbage: bytes) -> None:
    raw = name.encode()
    body = struct.pack("<BI", 0, len(raw)) + raw + struct.pack("<IIIIB", 100, 0, 200, 0, state)
    read = trash_spec(struct.pack("<BBI", 2, 1, len(body)) + body)
    assert read == {"source": "USER", "name": name, "deleted_at": 100, "expires_at": 200, "state": state}
    trash_spec(garbage)
