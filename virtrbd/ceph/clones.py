"""The clones of a snapshot, by name; those too whose names the bindings cannot decode."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from virtrbd.ceph import class_calls
from virtrbd.ceph.bindings import rados, rbd
from virtrbd.ceph.cluster import Cluster
from virtrbd.ceph.header import ParentKey
from virtrbd.ceph.texts import bindings_or_bytes
from virtrbd.errors import ClusterError, ConfigError
from virtrbd.model.image import ImageRef
from virtrbd.model.image_details import Child


def clones_of(cluster: Cluster, ioctx: Any, image: Any, snapshot_id: int) -> list[Child]:
    """Return the clones of a snapshot, those in the trash too; the image must be set to that snapshot."""

    def by_id() -> list[Child]:
        return list(_clones_by_id(cluster, ioctx, str(image.id()), snapshot_id))

    try:
        return bindings_or_bytes(lambda: [_child(found) for found in image.list_children2()], by_id)
    except rbd.ImageNotFound:
        # One clone on the list that is gone ends the whole list (measured with 16.2).
        return by_id()


def _child(found: dict[str, Any]) -> Child:
    ref = ImageRef(pool=found["pool"], namespace=found["pool_namespace"], name=found["image"])
    return Child(ref=ref, image_id=found["id"], in_trash=found["trash"])


def _clones_by_id(cluster: Cluster, ioctx: Any, image_id: str, snapshot_id: int) -> Iterator[Child]:
    """Yield what librbd's list would hold: the parent lists clones v2, their own pool lists clones v1."""
    for key in class_calls.list_clones(ioctx, image_id, snapshot_id):
        yield _clone(cluster, ImageRef(pool=cluster.name_of_pool(key.pool_id), namespace=key.namespace, name=""), key)
    namespace = ioctx.get_namespace()
    parent = ParentKey(pool_id=ioctx.get_pool_id(), namespace=namespace, image_id=image_id, snapshot_id=snapshot_id)
    for where, clone_id in old_clones(cluster, parent):
        key = ParentKey(pool_id=0, namespace=namespace, image_id=clone_id, snapshot_id=0)
        yield _clone(cluster, where, key)


def old_clones(cluster: Cluster, parent: ParentKey) -> Iterator[tuple[ImageRef, str]]:
    """Yield where each clone v1 of a snapshot is, and its id, as far as this user may read."""
    for pool in cluster.list_pools():
        # A clone v1 is in the namespace of its parent.
        where = ImageRef(pool=pool, namespace=parent.namespace, name="")
        with suppress(rados.PermissionError, rados.PermissionDeniedError), cluster.ioctx(where) as ioctx:
            yield from ((where, clone_id) for clone_id in class_calls.list_old_clones(ioctx, parent))


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
