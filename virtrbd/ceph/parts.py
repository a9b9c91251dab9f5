"""The parts of an image, read one by one: an image that was interrupted in its making or removal does not open."""

import re
import struct
import time
from collections.abc import Iterator
from typing import Any

from virtrbd.ceph import class_calls
from virtrbd.ceph.bindings import rados, rbd
from virtrbd.ceph.clones import old_clones
from virtrbd.ceph.cluster import Cluster, Moved
from virtrbd.ceph.contents import resolved, snapshots_of, user_snapshots_of
from virtrbd.ceph.describe import describe_image
from virtrbd.ceph.header import ParentKey, decode_id
from virtrbd.ceph.obstacles import OWN_LOCK, lasting_obstacles
from virtrbd.ceph.opening import open_image
from virtrbd.ceph.texts import is_utf8
from virtrbd.errors import ClusterError, ConfigError
from virtrbd.model.image import Image, ImageRef
from virtrbd.model.image_parts import ImageParts, ImageTroubles, Lock, LostClone, TrashState
from virtrbd.model.record import replace
from virtrbd.printable import quoted

# Names of objects that are read before the deadline starts again.
_NAMES_A_STEP = 1000


def read_parts(cluster: Cluster, ref: ImageRef, *, data: bool = False) -> ImageParts:
    """Return the parts under the image's name; with `data` also the amount of data under the id without a header.

    Counting that goes through all objects of the pool. Raises ClusterError, UnavailableError.
    """

    def read() -> ImageParts:
        with cluster.ioctx(ref) as ioctx:
            parts = _parts(ioctx, ref)
            lost = _lost_parent(cluster, ioctx, parts.image_id) if parts.has_header else ""
            return replace(parts, lost_parent=lost)

    if not is_utf8(ref.name):
        raise ClusterError(f"image {ref.image}: Ceph's Python bindings take only names of objects in UTF-8; use `rbd`")
    parts = cluster.call(f"reading the parts of {ref.image}", read)
    if not data or parts.has_header or not parts.image_id:
        return parts

    def count(moved: Moved) -> int:
        with cluster.ioctx(ref) as ioctx:
            return sum(1 for _ in data_objects(ioctx, parts.image_id, moved))

    return replace(parts, data_objects=cluster.call_in_steps(f"looking for data of {ref.image}", count))


def _parts(ioctx: Any, ref: ImageRef) -> ImageParts:
    id_object, noted_at = _id_object(ioctx, ref.name)
    listed_id = class_calls.id_of(ioctx, ref.name)
    if not _is_id(listed_id):
        raise ClusterError(
            f"image {ref.image}: the list of its pool, the object rbd_directory, has {quoted(listed_id)} as its id, "
            f"which is not an id; remove that entry with `rados rmomapkey`"
        )
    parts = ImageParts(ref=ref.image, id_object=id_object, noted_at=noted_at, listed_id=listed_id)
    parts = replace(parts, stuck=_stuck(ioctx, ref.name, parts.image_id))
    if not (image_id := parts.image_id):
        return parts
    listed_name = class_calls.name_of(ioctx, image_id)
    other = _id_object(ioctx, listed_name)[0] if listed_name and is_utf8(listed_name) else None
    size = _keys(ioctx, image_id, "size")
    return replace(
        parts,
        listed_name=listed_name,
        is_known_by_it=other == image_id,
        has_header=bool(size),
        is_blank=size is not None and not size,
        trash=class_calls.trash_state(ioctx, image_id),
    )


def _id_object(ioctx: Any, name: str) -> tuple[str | None, float]:
    """Return the id that the id object of that name holds, None without one, and when it was written."""
    try:
        _, changed = ioctx.stat(f"rbd_id.{name}")
        image_id = decode_id(ioctx.read(f"rbd_id.{name}"))
        return (image_id if _is_id(image_id) else ""), _seconds(changed)
    except rados.ObjectNotFound:
        return None, 0.0


def _is_id(text: str) -> bool:
    """Whether an image may have that id: with a dot, its objects' names could be another image's."""
    return text.isascii() and text.isprintable() and "." not in text


def _seconds(changed: Any) -> float:
    """Return the time as `stat` of the bindings gives it: time.struct_time, in this machine's zone."""
    return time.mktime(changed)


def _lost_parent(cluster: Cluster, ioctx: Any, image_id: str) -> str:
    """Return the image's parent where that is surely gone, "" where it exists or that is unknown."""
    try:
        key = class_calls.parent_of(ioctx, image_id)
    except (ValueError, struct.error):
        return ""
    if key is None or not key.is_of_head:
        return ""
    where = ImageRef(pool=cluster.name_of_pool(key.pool_id), namespace=key.namespace, name="")
    try:
        with cluster.ioctx(where) as parents:
            keys = _keys(parents, key.image_id, f"snapshot_{key.snapshot_id:016x}")
    except ConfigError:
        keys = None
    except (ValueError, ClusterError, rados.PermissionError, rados.PermissionDeniedError):
        return ""
    return "" if keys else f"{where.pool_spec}/(id {key.image_id})"


def _stuck(ioctx: Any, name: str, image_id: str) -> dict[str, TrashState]:
    """Return the states, by id, of other images of that name that are stuck in the trash."""
    named = [entry["id"] for entry in class_calls.list_in_trash(ioctx) if entry["name"] == name]
    states = {each: class_calls.trash_state(ioctx, each) for each in named if each != image_id}
    return {each: state for each, state in states.items() if state and not state.is_settled}


def _keys(ioctx: Any, image_id: str, key: str) -> dict[str, bytes] | None:
    """Return what the header has under the key, empty for nothing, None where there is no such object."""
    with rados.ReadOpCtx() as operation:
        values, _ = ioctx.get_omap_vals_by_keys(operation, (key,))
        try:
            ioctx.operate_read_op(operation, f"rbd_header.{image_id}")
        except rados.ObjectNotFound:
            return None
        return dict(values)


def read_by_id(cluster: Cluster, ref: ImageRef, image_id: str) -> Image | None:
    """Return an image whose name does not lead to it, None where it does not open by its id either."""

    def read() -> Image:
        with cluster.ioctx(ref) as ioctx, open_image(ioctx, ref, image_id=image_id, read_only=True) as image:
            return describe_image(cluster, ioctx, ref.image, image, usage=False)

    try:
        return cluster.call(f"reading {ref.image} by its id", read)
    except ClusterError:
        return None


def data_objects(ioctx: Any, image_id: str, moved: Moved) -> Iterator[str]:
    """Yield the names of the objects that hold data of the image, in its own pool; reads all names of the pool."""
    # Exactly: where the pool holds the data of other pools' images, their names go on after rbd_data.POOL.
    is_data = re.compile(re.escape(f"rbd_data.{image_id}.") + "[0-9a-f]{16}").fullmatch
    for number, each in enumerate(ioctx.list_objects()):
        if number % _NAMES_A_STEP == 0:
            moved()
        if is_data(each.key):
            yield each.key


def read_troubles(cluster: Cluster, ref: ImageRef) -> ImageTroubles:
    """Return the flaws of an image that opens. Raises ClusterError, UnavailableError."""

    def read(moved: Moved) -> ImageTroubles:
        with cluster.ioctx(ref) as ioctx, open_image(ioctx, ref, read_only=True) as image:
            snapshots = [int(each["id"]) for each in snapshots_of(ioctx, image)]
            return ImageTroubles(
                bad_maps=tuple(_bad_maps(ioctx, image)),
                locks=tuple(_locks(image)),
                lost_clones=tuple(_lost_clones(cluster, ioctx, str(image.id()), snapshots, moved)),
                unlisted_in=_unlisted_in(cluster, ioctx, str(image.id())),
                obstacles=lasting_obstacles(ref.image, image),
            )

    return cluster.call_in_steps(f"looking for what is wrong with {ref.image}", read)


def _bad_maps(ioctx: Any, image: Any) -> Iterator[str]:
    if not image.features() & rbd.RBD_FEATURE_OBJECT_MAP:
        return
    invalid = rbd.RBD_FLAG_OBJECT_MAP_INVALID | rbd.RBD_FLAG_FAST_DIFF_INVALID
    if image.flags() & invalid or not has_object(ioctx, f"rbd_object_map.{image.id()}"):
        yield ""
    for snapshot in user_snapshots_of(ioctx, image):
        image.set_snap_by_id(snapshot["id"])
        is_there = has_object(ioctx, f"rbd_object_map.{image.id()}.{int(snapshot['id']):016x}")
        if image.flags() & invalid or not is_there:
            yield str(snapshot["name"])
        image.set_snap(None)


def has_object(ioctx: Any, name: str) -> bool:
    """Whether the namespace has an object of that name."""
    try:
        ioctx.stat(name)
    except rados.ObjectNotFound:
        return False
    return True


def _locks(image: Any) -> Iterator[Lock]:
    if held := image.list_lockers():
        for client, cookie, address in held["lockers"]:
            yield Lock(
                client=client,
                cookie=cookie,
                address=address.split("/")[0],
                is_exclusive=held["tag"] == OWN_LOCK,
            )


def _lost_clones(
    cluster: Cluster, ioctx: Any, image_id: str, snapshots: list[int], moved: Moved
) -> Iterator[LostClone]:
    """Yield the clones that snapshots of the image list and that are gone, or have another parent by now.

    librbd removes a clone from the list before its header, so librbd alone never leaves one.
    """
    for snapshot_id in snapshots:
        parent = ParentKey(
            pool_id=ioctx.get_pool_id(),
            namespace=ioctx.get_namespace(),
            image_id=image_id,
            snapshot_id=snapshot_id,
        )
        for clone in _listed_clones(cluster, ioctx, parent):
            moved()
            if _is_lost(cluster, clone, parent):
                yield clone


def _listed_clones(cluster: Cluster, ioctx: Any, parent: ParentKey) -> Iterator[LostClone]:
    for key in class_calls.list_clones(ioctx, parent.image_id, parent.snapshot_id):
        where = ImageRef(pool=cluster.name_of_pool(key.pool_id), namespace=key.namespace, name="")
        yield LostClone(where=where, pool_id=key.pool_id, image_id=key.image_id, parent_snapshot_id=parent.snapshot_id)
    for where, image_id in old_clones(cluster, parent):
        yield LostClone(where=where, pool_id=0, image_id=image_id, parent_snapshot_id=parent.snapshot_id, is_old=True)


def _is_lost(cluster: Cluster, clone: LostClone, parent: ParentKey) -> bool:
    try:
        with cluster.ioctx(clone.where) as ioctx:
            # A flatten leaves its snapshots on the parent, if they grew from it and the image has no deep-flatten.
            grows = class_calls.parent_of(ioctx, clone.image_id) == parent
            return not grows and not class_calls.list_snapshots(ioctx, clone.image_id)
    except rados.ObjectNotFound:
        return True
    except (ConfigError, ClusterError, ValueError, struct.error, rados.PermissionError, rados.PermissionDeniedError):
        # A pool that is gone, or that this user may not read, or a header of garbage: unknown.
        return False


def _unlisted_in(cluster: Cluster, ioctx: Any, image_id: str) -> ImageRef | None:
    """Return the parent's snapshot where it does not list the image, else None."""
    key = class_calls.parent_of(ioctx, image_id)
    if key is None or is_listed_clone(cluster, ioctx, image_id, key):
        return None
    return resolved(cluster, key)


def is_listed_clone(cluster: Cluster, ioctx: Any, image_id: str, key: ParentKey) -> bool:
    """Whether the parent lists its clone: in format 2 with the parent, in format 1 with the clone."""
    if image_id in class_calls.list_old_clones(ioctx, key):
        return True
    where = ImageRef(pool=cluster.name_of_pool(key.pool_id), namespace=key.namespace, name="")
    try:
        with cluster.ioctx(where) as parents:
            listed = class_calls.list_clones(parents, key.image_id, key.snapshot_id)
    except (ConfigError, ClusterError, rados.PermissionError, rados.PermissionDeniedError):
        return True
    mine = (ioctx.get_pool_id(), ioctx.get_namespace(), image_id)
    return any((each.pool_id, each.namespace, each.image_id) == mine for each in listed)
