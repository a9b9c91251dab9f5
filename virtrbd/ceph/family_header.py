"""The header of an image with what only its family needs: kinds, sizes and times of snapshots, and their clones."""

import struct
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct, field

from virtrbd.ceph.bindings import rbd
from virtrbd.ceph.class_calls import Decoder, decode_clones, list_clones, list_snapshots, parent_of
from virtrbd.ceph.contents import metadata_of
from virtrbd.ceph.features import seconds_of
from virtrbd.ceph.header import Header, ParentKey, decode_header
from virtrbd.ceph.opening import open_image
from virtrbd.model.image import ImageRef
from virtrbd.model.image_details import SnapshotKind

_SNAPSHOT, _CLONES = "snapshot_", "snap_children_"
_KINDS = {
    0: SnapshotKind.USER,
    1: SnapshotKind.GROUP,
    2: SnapshotKind.TRASH,
    3: SnapshotKind.MIRROR,
}
_INVALID = rbd.RBD_FLAG_OBJECT_MAP_INVALID | rbd.RBD_FLAG_FAST_DIFF_INVALID


class HeaderSnapshot(Struct, frozen=True, kw_only=True):
    """A snapshot as the header has it; `label`: its name, of a snapshot in the trash its former one."""

    snapshot_id: int
    label: str
    kind: SnapshotKind
    size_bytes: int
    created_at: float = 0.0
    is_protected: bool = False
    has_map: bool = False


class FamilyHeader(Struct, frozen=True, kw_only=True):
    """A header, the snapshots oldest first, and the clones (v2) by snapshot. `has_map`: it has a valid fast-diff."""

    header: Header
    has_map: bool
    snapshots: tuple[HeaderSnapshot, ...] = ()
    clones: Mapping[int, tuple[ParentKey, ...]] = field(default_factory=dict)


def decode_family(pairs: Iterable[tuple[str, bytes | None]]) -> FamilyHeader | None:
    """Return the content of a header's keys, None where they do not suffice: then the image must be opened."""
    try:
        # The bindings turn an empty value into None, and raise where a key is not UTF-8.
        values = {key: value or b"" for key, value in pairs}
        header = decode_header(values)
        if header is None:
            return None
        [flags] = struct.unpack("<Q", values["flags"]) if values.get("flags") else [0]
        snapshots = [_snapshot(Decoder(raw), header) for key, raw in values.items() if key.startswith(_SNAPSHOT)]
        clones = {
            int(key.removeprefix(_CLONES), 16): tuple(decode_clones(raw))
            for key, raw in values.items()
            if key.startswith(_CLONES)
        }
    except (ValueError, struct.error):
        return None
    return FamilyHeader(
        header=header,
        has_map=_has_map(header.features, flags),
        snapshots=tuple(sorted(snapshots, key=lambda each: each.snapshot_id)),
        clones=clones,
    )


def _snapshot(walk: Decoder, header: Header) -> HeaderSnapshot:
    """Decode cls_rbd_snap (src/cls/rbd/cls_rbd_types.h), whose version 8 `decode_header` has made sure of."""
    walk.versioned()
    snapshot_id, name = walk.number("Q"), walk.text()
    size_bytes, protection, flags = walk.number("Q"), walk.number("B"), walk.number("Q")
    end = walk.versioned().end
    kind = _KINDS.get(walk.number("I"), SnapshotKind.UNKNOWN)
    label = walk.text() if kind is SnapshotKind.TRASH else name
    walk.at = end
    return HeaderSnapshot(
        snapshot_id=snapshot_id,
        label=label,
        kind=kind,
        size_bytes=size_bytes,
        created_at=walk.time(),
        is_protected=protection != 0,
        has_map=_has_map(header.features, flags),
    )


def _has_map(features: int, flags: int) -> bool:
    return bool(features & rbd.RBD_FEATURE_FAST_DIFF) and not flags & _INVALID


def open_family(ioctx: Any, ref: ImageRef, image_id: str) -> FamilyHeader:
    """Return the same by opening the image: for a header with too many keys, or of an image that is migrated."""
    with open_image(ioctx, ref, image_id=image_id, read_only=True) as image:
        found = list_snapshots(ioctx, image_id)
        snapshots = [
            HeaderSnapshot(
                snapshot_id=each["id"],
                label=each.get("trash", {}).get("original_name", each["name"]),
                kind=_KINDS.get(each["namespace"], SnapshotKind.UNKNOWN),
                size_bytes=each["size"],
                created_at=seconds_of(image.get_snap_timestamp(each["id"])),
                # Its maps may be in another place, as those of an image that is migrated.
                has_map=False,
            )
            for each in found
        ]
        header = Header(
            size_bytes=image.size(),
            order=image.stat()["order"],
            features=image.features(),
            created_at=seconds_of(image.create_timestamp()),
            snapshots={},
            metadata=metadata_of(ioctx, image),
            parent=parent_of(ioctx, image_id),
        )
        clones = {each["id"]: tuple(list_clones(ioctx, image_id, each["id"])) for each in found}
    return FamilyHeader(header=header, has_map=False, snapshots=tuple(snapshots), clones=clones)
