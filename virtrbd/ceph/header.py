"""The header of an image as it lies on the cluster: one read instead of the dozen that opening takes.

The keys and encodings are those of cls_rbd (src/cls/rbd/cls_rbd.cc and cls_rbd_types.h, the same from Nautilus on).
What does not look as it does there is None, and the image is to be opened instead.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from virtrbd.ceph.bindings import rbd

# How many keys a read asks for. Snapshots and metadata are keys too; an image with more of them is opened.
MOST_KEYS = 256

_METADATA, _SNAPSHOT = "metadata_", "snapshot_"
# A snapshot is decoded from version 8 on, which has no fields of uncertain length before its kind.
_SNAPSHOT_VERSION = 8
_USER_KIND = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentKey:
    """A parent as the header names it: by numbers, which other objects turn into names."""

    pool_id: int
    namespace: str
    image_id: str
    snapshot_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What the header says; `snapshots` holds the names of those that people made, by id."""

    size_bytes: int
    order: int
    features: int
    created_at: float
    snapshots: Mapping[int, str]
    metadata: Mapping[str, str]
    parent: ParentKey | None = None


def decode_header(values: Mapping[str, bytes]) -> Header | None:
    """Return what the keys say, None where that can't be told from them alone."""
    if len(values) >= MOST_KEYS:
        return None
    try:
        [features] = struct.unpack("<Q", values["features"])
        seconds, nanoseconds = struct.unpack("<II", values["create_timestamp"])
        header = Header(
            size_bytes=struct.unpack("<Q", values["size"])[0],
            order=values["order"][0],
            features=features,
            created_at=seconds + nanoseconds / 1e9,
            snapshots=_snapshots(values),
            metadata={
                key.removeprefix(_METADATA): value.decode()
                for key, value in values.items()
                if key.startswith(_METADATA)
            },
            parent=_parent(values["parent"]) if values.get("parent") else None,
        )
    except (KeyError, IndexError, ValueError, struct.error):
        return None
    # What migrates is half in another place, and its header tells of one half.
    return None if features & rbd.RBD_FEATURE_MIGRATING else header


def _snapshots(values: Mapping[str, bytes]) -> dict[int, str]:
    found = {}
    for key, value in values.items():
        if key.startswith(_SNAPSHOT):
            _, compat, _, snapshot_id, length = struct.unpack_from("<BBIQI", value)
            if compat < _SNAPSHOT_VERSION:
                raise ValueError(f"{key} is of version {compat}")
            name = value[18 : 18 + length].decode()
            # Behind the name: size (8 bytes), protection (1), flags (8); then version (2) and length (4) of the kind.
            [kind] = struct.unpack_from("<I", value, 18 + length + 8 + 1 + 8 + 6)
            if kind == _USER_KIND:
                found[snapshot_id] = name
    return found


def _parent(value: bytes) -> ParentKey | None:
    version, _, _, pool_id = struct.unpack_from("<BBIq", value)
    if pool_id < 0:
        return None
    at, namespace = 14, ""
    if version >= 2:
        namespace, at = _text(value, at)
    image_id, at = _text(value, at)
    [snapshot_id] = struct.unpack_from("<Q", value, at)
    return ParentKey(pool_id=pool_id, namespace=namespace, image_id=image_id, snapshot_id=snapshot_id)


def _text(value: bytes, at: int) -> tuple[str, int]:
    [length] = struct.unpack_from("<I", value, at)
    end = at + 4 + length
    return value[at + 4 : end].decode(), end
