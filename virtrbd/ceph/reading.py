"""Named images, read from their headers: two reads an image instead of the dozen that opening takes.

Not by a list of the pool: that grows with what others keep there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from virtrbd.ceph.bindings import rados
from virtrbd.ceph.cluster import Cluster
from virtrbd.ceph.features import feature_names
from virtrbd.ceph.header import Header, ParentKey
from virtrbd.ceph.images import read_image
from virtrbd.ceph.in_flight import read_headers, read_ids
from virtrbd.ceph.metadata import STATE, config_of, mark_of, running_on, seed_of
from virtrbd.ceph.unopened import read_header
from virtrbd.model.image import Image, ImageRef

# Images whose reads are under way at once, within one deadline.
_AT_A_TIME = 256


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
    """Return id and header of each image that has an id."""
    found: dict[ImageRef, tuple[str, Header | None]] = {}
    for (pool, namespace), mine in _by_room(refs).items():
        room = ImageRef(pool=pool, namespace=namespace, name="")
        for at in range(0, len(mine), _AT_A_TIME):
            found |= cluster.call("reading images", partial(_read_some, cluster, room, mine[at : at + _AT_A_TIME]))
    return found


def _read_some(cluster: Cluster, room: ImageRef, refs: Sequence[ImageRef]) -> dict[ImageRef, tuple[str, Header | None]]:
    with cluster.ioctx(room) as ioctx:
        ids = read_ids(ioctx, [ref.name for ref in refs])
        headers = read_headers(ioctx, list(ids.values()))
    return {ref: (image_id, headers[image_id]) for ref in refs if (image_id := ids.get(ref.name))}


def _by_room(refs: Sequence[ImageRef]) -> Mapping[tuple[str, str], list[ImageRef]]:
    rooms: dict[tuple[str, str], list[ImageRef]] = {}
    for ref in refs:
        rooms.setdefault((ref.pool, ref.namespace), []).append(ref)
    return rooms


def _parents(cluster: Cluster, keys: set[ParentKey]) -> dict[ParentKey, ImageRef]:
    """Return the names of parents; one in the trash has none here. There are few: many images share one."""
    named = {key: cluster.call("reading parents", partial(_parent, cluster, key)) for key in keys}
    return {key: parent for key, parent in named.items() if parent}


def _parent(cluster: Cluster, key: ParentKey) -> ImageRef | None:
    where = ImageRef(pool=cluster.name_of_pool(key.pool_id), namespace=key.namespace, name="")
    with cluster.ioctx(where) as ioctx:
        name, header = _name_of(ioctx, key.image_id), read_header(ioctx, key.image_id)
    snapshot = header.snapshots.get(key.snapshot_id) if header else None
    return replace(where, name=name, snapshot=snapshot) if name and snapshot else None


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
