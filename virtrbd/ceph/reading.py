"""Named images, read from their headers: two reads an image instead of the dozen that opening takes.

Not by a list of the pool: that grows with what others keep there.
"""

import struct
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from virtrbd.ceph.bindings import rados
from virtrbd.ceph.cluster import Cluster
from virtrbd.ceph.features import feature_names
from virtrbd.ceph.header import MOST_KEYS, Header, ParentKey, decode_header
from virtrbd.ceph.images import read_image
from virtrbd.ceph.metadata import STATE, config_of, mark_of, running_on, seed_of
from virtrbd.model.image import Image, ImageRef

_AT_A_TIME = 16
# `rbd_id.<name>` holds the image's id as an encoded string (cls_rbd.cc, get_id): its length, then itself.
_LONGEST_ID = 128


def read_images(cluster: Cluster, refs: Sequence[ImageRef]) -> dict[ImageRef, Image | None]:
    """Return the images by name, None for those that are not there; without who has them open.

    What a header does not tell is told by opening the image. Raises ConfigError, DeniedError, UnavailableError.
    """
    found: dict[ImageRef, Image | None] = {}
    headers = _read_all(cluster, sorted(refs))
    parents = _parents(cluster, {header.parent for _, header in headers.values() if header and header.parent})
    for ref in refs:
        image_id, header = headers.get(ref, ("", None))
        parent = parents.get(header.parent) if header and header.parent else None
        if header and (parent or not header.parent) and not ref.snapshot:
            found[ref] = _image(ref, image_id, header, parent)
        else:
            found[ref] = read_image(cluster, ref)
    return found


def _image(ref: ImageRef, image_id: str, header: Header, parent: ImageRef | None) -> Image:
    return Image(
        ref=ref,
        image_id=image_id,
        size_bytes=header.size_bytes,
        created_at=float(int(header.created_at)),
        mark=mark_of(header.metadata, image_id),
        state=header.metadata.get(STATE, ""),
        running_on=running_on(header.metadata, image_id),
        seed=seed_of(header.metadata, image_id),
        parent=parent,
        object_bytes=1 << header.order,
        features=feature_names(header.features),
        snapshots=tuple(sorted(header.snapshots.values())),
        config=config_of(header.metadata),
    )


def _read_all(cluster: Cluster, refs: Sequence[ImageRef]) -> dict[ImageRef, tuple[str, Header | None]]:
    """Return id and header of each image that has both."""

    def read(chunk: Sequence[ImageRef]) -> dict[ImageRef, tuple[str, Header | None]]:
        found = {}
        for (pool, namespace), mine in _by_room(chunk).items():
            # A context of its own: they are not for two threads at once.
            with cluster.ioctx(ImageRef(pool=pool, namespace=namespace, name="")) as ioctx:
                for ref in mine:
                    if image_id := _id_of(ioctx, ref.name):
                        found[ref] = (image_id, read_header(ioctx, image_id))
        return found

    return _in_threads(cluster, "reading images", refs, read)


def _in_threads(cluster: Cluster, what: str, items: Sequence[Any], read: Any) -> dict[Any, Any]:
    size = max(1, -(-len(items) // _AT_A_TIME))
    chunks = [items[at : at + size] for at in range(0, len(items), size)]
    found: dict[Any, Any] = {}
    if not chunks:
        return found
    with ThreadPoolExecutor(len(chunks)) as pool:
        for part in pool.map(lambda chunk: cluster.call(what, lambda: read(chunk)), chunks):
            found |= part
    return found


def _by_room(refs: Sequence[ImageRef]) -> Mapping[tuple[str, str], list[ImageRef]]:
    rooms: dict[tuple[str, str], list[ImageRef]] = {}
    for ref in refs:
        rooms.setdefault((ref.pool, ref.namespace), []).append(ref)
    return rooms


def _id_of(ioctx: Any, name: str) -> str:
    try:
        raw = ioctx.read(f"rbd_id.{name}", _LONGEST_ID)
    except rados.ObjectNotFound:
        return ""
    if len(raw) < 4:
        return ""
    [length] = struct.unpack_from("<I", raw)
    return raw[4 : 4 + length].decode(errors="replace") if length <= len(raw) - 4 else ""


def read_header(ioctx: Any, image_id: str) -> Header | None:
    """Return the header of the image with that id, None where it can't be told from it alone."""
    with rados.ReadOpCtx() as operation:
        values, _ = ioctx.get_omap_vals(operation, "", "", MOST_KEYS)
        try:
            ioctx.operate_read_op(operation, f"rbd_header.{image_id}")
        except rados.ObjectNotFound:
            return None
        return decode_header(dict(values))


def _parents(cluster: Cluster, keys: set[ParentKey]) -> dict[ParentKey, ImageRef]:
    """Return the names of parents; one in the trash has none here."""

    def read(chunk: Sequence[ParentKey]) -> dict[ParentKey, ImageRef]:
        found = {}
        for key in chunk:
            where = ImageRef(pool=cluster.name_of_pool(key.pool_id), namespace=key.namespace, name="")
            with cluster.ioctx(where) as ioctx:
                name, header = _name_of(ioctx, key.image_id), read_header(ioctx, key.image_id)
            snapshot = header.snapshots.get(key.snapshot_id) if header else None
            if name and snapshot:
                found[key] = ImageRef(pool=where.pool, namespace=key.namespace, name=name, snapshot=snapshot)
        return found

    return _in_threads(cluster, "reading parents", sorted(keys, key=repr), read)


def _name_of(ioctx: Any, image_id: str) -> str:
    """Return the name that the pool's directory has for the id (cls_rbd.cc, dir_get_name)."""
    key = f"id_{image_id}"
    with rados.ReadOpCtx() as operation:
        values, _ = ioctx.get_omap_vals_by_keys(operation, (key,))
        try:
            ioctx.operate_read_op(operation, "rbd_directory")
        except rados.ObjectNotFound:
            return ""
        raw = dict(values).get(key, b"")
    return bytes(raw[4:]).decode(errors="replace") if len(raw) > 4 else ""
