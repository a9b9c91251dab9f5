"""Image headers and metadata, read and written without opening: one message to the cluster instead of 12 to 25.

Written by what librbd itself calls on the header (cls_rbd's metadata_set and metadata_remove), of any client's version.
Through librbd, metadata is written under the exclusive lock, which a guest that runs would have to give up meanwhile.
"""

import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from virtrbd.ceph.bindings import rados, rbd
from virtrbd.ceph.class_calls import id_of
from virtrbd.ceph.header import MOST_KEYS, Header, decode_id, decode_pairs
from virtrbd.ceph.texts import as_bytes, is_utf8
from virtrbd.errors import ClusterError
from virtrbd.model.image import ImageRef


def read_id(ioctx: Any, ref: ImageRef) -> str:
    """Return the id of the image with that name. Raises ClusterError when there is none, or it is unreadable."""
    if not is_utf8(ref.name):
        # The bindings refuse such a name of an object.
        return id_of(ioctx, ref.name)
    try:
        value: bytes = ioctx.read(f"rbd_id.{ref.name}")
    except rados.ObjectNotFound:
        raise ClusterError(f"image {ref.image} does not exist; was it removed meanwhile?") from None
    if not (image_id := decode_id(value)):
        raise ClusterError(f"image {ref.image} cannot be read: its rbd_id object does not name an image")
    return image_id


def read_header(ioctx: Any, image_id: str) -> Header | None:
    """Return the header, None for an image that is gone or must be opened."""
    with rados.ReadOpCtx() as operation:
        values, _ = ioctx.get_omap_vals(operation, "", "", MOST_KEYS)
        try:
            ioctx.operate_read_op(operation, f"rbd_header.{image_id}")
        except rados.ObjectNotFound:
            return None
        return decode_pairs(values)


def write_metadata(
    ioctx: Any, ref: ImageRef, image_id: str, values: Mapping[str, str], removed: Sequence[str] = ()
) -> None:
    """Set and remove keys of the image's metadata, all or none. Raises ClusterError when the image is gone."""
    with rados.WriteOpCtx() as operation:
        # A header always has a size. Without this the write would make a header where there is none.
        operation.omap_cmp("size", "", rados.LIBRADOS_CMPXATTR_OP_GT)
        if values:
            operation.execute("rbd", "metadata_set", _encoded_map(values))
        for key in removed:
            operation.execute("rbd", "metadata_remove", _encoded(key))
        try:
            ioctx.operate_write_op(operation, f"rbd_header.{image_id}")
        except rados.ObjectNotFound:
            raise ClusterError(f"image {ref} was replaced meanwhile; run again") from None


def invalidate_object_map(ioctx: Any, ref: ImageRef, image_id: str) -> None:
    """Mark the image's object map, and what follows from it, as invalid, and notify the clients that have it open.

    Rebuilding the map undoes that. Raises ClusterError when the image is gone.
    """
    flags = rbd.RBD_FLAG_OBJECT_MAP_INVALID | rbd.RBD_FLAG_FAST_DIFF_INVALID
    with rados.WriteOpCtx() as operation:
        operation.omap_cmp("size", "", rados.LIBRADOS_CMPXATTR_OP_GT)
        # Which flags, and which of them are meant.
        operation.execute("rbd", "set_flags", struct.pack("<QQ", flags, flags))
        try:
            ioctx.operate_write_op(operation, f"rbd_header.{image_id}")
        except rados.ObjectNotFound:
            raise ClusterError(f"image {ref} was replaced meanwhile; run again") from None
    # librbd takes one without content for "the header has changed". A client that was killed does not answer it.
    with suppress(rados.TimedOut):
        ioctx.notify(f"rbd_header.{image_id}", "")


def _encoded_map(values: Mapping[str, str]) -> bytes:
    pairs = [_encoded(key) + _encoded(value) for key, value in sorted(values.items())]
    return struct.pack("<I", len(pairs)) + b"".join(pairs)


def _encoded(text: str) -> bytes:
    data = as_bytes(text)
    return struct.pack("<I", len(data)) + data
