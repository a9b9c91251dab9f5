"""The header of an image, decoded: one read instead of the dozen that opening takes.

The keys and encodings are those of cls_rbd (src/cls/rbd/cls_rbd.cc and cls_rbd_types.h, the same from Nautilus on).
A header that looks different is None, and the image is opened instead.
"""

import struct
from collections.abc import Iterable, Mapping

from msgspec import Struct

from virtrbd.ceph.bindings import rbd
from virtrbd.ceph.texts import as_text
from virtrbd.model.record import Keyed

# How many keys a read asks for. Snapshots and metadata are keys too; an image with more of them is opened.
MOST_KEYS = 256

_METADATA, _SNAPSHOT = "metadata_", "snapshot_"
# A snapshot is decoded from version 8 on, which has no fields of uncertain length before its kind.
_SNAPSHOT_VERSION = 8
_USER_KIND = 0


class ParentKey(Keyed, frozen=True, kw_only=True):
    """A parent as in the header: by numbers, which other objects translate into names.

    `is_of_head`: it is the parent of the image itself, not only of its snapshots, as after a flatten; it shares the
    image's first `overlap_bytes` then.
    """

    pool_id: int
    namespace: str
    image_id: str
    snapshot_id: int
    is_of_head: bool = True
    overlap_bytes: int = 0

    @property
    def key(self) -> tuple[object, ...]:
        """What it is compared by."""
        return (self.pool_id, self.namespace, self.image_id, self.snapshot_id)


class Header(Struct, frozen=True, kw_only=True):
    """The content of a header; `snapshots`: the names of the user's snapshots, by id."""

    size_bytes: int
    order: int
    features: int
    created_at: float
    snapshots: Mapping[int, str]
    metadata: Mapping[str, str]
    parent: ParentKey | None = None


def decode_pairs(pairs: Iterable[tuple[str, bytes | None]]) -> Header | None:
    """Return the content of the keys, as `decode_header`; the bindings raise where one is not UTF-8."""
    try:
        # They turn an empty value into None.
        values = {key: value or b"" for key, value in pairs}
    except UnicodeDecodeError:
        return None
    return decode_header(values)


def decode_header(values: Mapping[str, bytes]) -> Header | None:
    """Return the content of the keys, None where they do not suffice."""
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
                key.removeprefix(_METADATA): as_text(value)
                for key, value in values.items()
                if key.startswith(_METADATA)
            },
            parent=parent_key_of(values["parent"]) if values.get("parent") else None,
        )
    except (KeyError, IndexError, ValueError, struct.error):
        return None
    # A migrating image is half in another place, and its header describes one half.
    return None if features & rbd.RBD_FEATURE_MIGRATING else header


def _snapshots(values: Mapping[str, bytes]) -> dict[int, str]:
    found = {}
    for key, value in values.items():
        if key.startswith(_SNAPSHOT):
            _, compat, _, snapshot_id, length = struct.unpack_from("<BBIQI", value)
            if compat < _SNAPSHOT_VERSION:
                raise ValueError(f"{key} is of version {compat}")
            name = as_text(value[18 : 18 + length])
            # Behind the name: size (8 bytes), protection (1), flags (8); then version (2) and length (4) of the kind.
            [kind] = struct.unpack_from("<I", value, 18 + length + 8 + 1 + 8 + 6)
            if kind == _USER_KIND:
                found[snapshot_id] = name
    return found


def parent_key_of(value: bytes) -> ParentKey | None:
    """Return the parent of the header's key, None without one. Raises ValueError, struct.error."""
    version, _, _, pool_id = struct.unpack_from("<BBIq", value)
    if pool_id < 0:
        return None
    at, namespace = 14, ""
    if version >= 2:
        namespace, at = _text(value, at)
    image_id, at = _text(value, at)
    [snapshot_id] = struct.unpack_from("<Q", value, at)
    # Since version 2 the overlap is optional (cls_rbd_types.h, cls_rbd_parent).
    is_of_head = version < 2 or value[at + 8 : at + 9] == b"\1"
    [overlap] = struct.unpack_from("<Q", value, at + 8 + (version >= 2)) if is_of_head else [0]
    return ParentKey(
        pool_id=pool_id,
        namespace=namespace,
        image_id=image_id,
        snapshot_id=snapshot_id,
        is_of_head=is_of_head,
        overlap_bytes=overlap,
    )


def _text(value: bytes, at: int) -> tuple[str, int]:
    [length] = struct.unpack_from("<I", value, at)
    end = at + 4 + length
    if end > len(value):
        raise ValueError("cut short")
    return as_text(value[at + 4 : end]), end


def decode_id(value: bytes) -> str:
    """Return the id that `rbd_id.NAME` holds (cls_rbd.cc, get_id): its length in 4 bytes, then itself; "" for none.

    An id that is not the name of a readable object does not count.
    """
    text = as_text(value[4:])
    is_whole = len(value) > 4 and struct.unpack_from("<I", value)[0] == len(value) - 4
    return text if is_whole and text.isascii() and text.isprintable() else ""
