"""The clones of a snapshot, by name; those too whose names the bindings cannot decode."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from virtrbd.ceph import class_calls
from virtrbd.ceph.bindings import rados
from virtrbd.ceph.cluster import Cluster
from virtrbd.ceph.header import ParentKey
from virtrbd.ceph.texts import bindings_or_bytes
from virtrbd.errors import ClusterError, ConfigError
from virtrbd.model.image import ImageRef
from virtrbd.model.image_details import Child


def clones_of(cluster: Cluster, ioctx: Any, image: Any, snapshot_id: int) -> list[Child]:
    """Return the clones of a snapshot, those in the trash too; the image must be set to that snapshot."""
    return bindings_or_bytes(
        lambda: [_child(found) for found in image.list_children2()],
        lambda: list(_clones_by_id(cluster, ioctx, str(image.id()), snapshot_id)),
    )


def _child(found: dict[str, Any]) -> Child:
    ref = ImageRef(pool=found["pool"], namespace=found["pool_namespace"], name=found["image"])
    return Child(ref=ref, image_id=found["id"], in_trash=found["trash"])


def _clones_by_id(cluster: Cluster, ioctx: Any, image_id: str, snapshot_id: int) -> Iterator[Child]:
    """Yield what librbd's list would hold: clones v2 are known to their parent, those of v1 to the pool they are in."""
    for key in class_calls.list_clones(ioctx, image_id, snapshot_id):
        yield _clone(cluster, ImageRef(pool=cluster.name_of_pool(key.pool_id), namespace=key.namespace, name=""), key)
    parent = ParentKey(pool_id=ioctx.get_pool_id(), namespace="", image_id=image_id, snapshot_id=snapshot_id)
    for pool in cluster.list_pools():
        # A clone v1 is in the namespace of its parent.
        where = ImageRef(pool=pool, namespace=ioctx.get_namespace(), name="")
        with suppress(rados.PermissionError, rados.PermissionDeniedError), cluster.ioctx(where) as room:
            ids = class_calls.list_old_clones(room, parent)
            keys = [ParentKey(pool_id=0, namespace=where.namespace, image_id=each, snapshot_id=0) for each in ids]
            yield from (_clone(cluster, where, key) for key in keys)


def _clone(cluster: Cluster, where: ImageRef, key: ParentKey) -> Child:
    name, in_trash = "", False
    with (
        suppress(ConfigError, ClusterError, rados.PermissionError, rados.PermissionDeniedError),
        cluster.ioctx(where) as ioctx,
    ):
        name = class_calls.name_of(ioctx, key.image_id)
        if not name:
            name = class_calls.name_in_trash(ioctx, key.image_id)
            in_trash = bool(name)
    ref = ImageRef(pool=where.pool, namespace=where.namespace, name=name or f"(id {key.image_id})")
    return Child(ref=ref, image_id=key.image_id, in_trash=in_trash)
