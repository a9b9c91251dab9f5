"""Headers of images as cls_rbd writes them: read back as they are, and what is none is refused, never raised."""

import struct
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from support.headers import TEXT, Written, encoded, encoded_parent, headers, string, versioned

from virtrbd.ceph.bindings import rbd
from virtrbd.ceph.class_calls import trash_spec
from virtrbd.ceph.header import MOST_KEYS, Header, ParentKey, decode_header, decode_id, decode_pairs, parent_key_of


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
