"""Write the parts of an image one by one, as librbd does (methods of cls_rbd), each only where it belongs to the image
that was looked at."""

import errno
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from virtrbd.ceph.bindings import rados, rbd
from virtrbd.ceph.class_calls import encoded, parent_of
from virtrbd.ceph.cluster import Cluster, Moved
from virtrbd.ceph.header_io import read_header
from virtrbd.ceph.long_calls import rebuild_object_map
from virtrbd.ceph.opening import open_image
from virtrbd.ceph.parts import data_objects, has_object, is_listed_clone
from virtrbd.ceph.watchers import refuse_watched
from virtrbd.errors import ClusterError
from virtrbd.model.image import ImageRef
from virtrbd.model.image_parts import Lock, LostClone, TrashState

_DIRECTORY, _TRASH = "rbd_directory", "rbd_trash"
# The errors of a failed comparison in a write op: of a key this, of bytes a number from this on.
_DIFFERS, _DIFFERS_AT = errno.ECANCELED, 4095


def remove_remains(cluster: Cluster, ref: ImageRef, image_id: str, *, data: bool) -> None:
    """Remove an image without a header: with `data` the data under its id, then its name.

    First an object is made where the header would be: a client that is still making the image fails there and removes
    its own part, because librbd makes a header only where there is none. Interrupted anywhere, it is recognised again;
    at the very end an empty object may stay behind. Raises ClusterError where there is a header by now.
    """

    def remove(moved: Moved) -> None:
        with cluster.ioctx(ref) as ioctx:
            ioctx.set_osdmap_full_try()
            if image_id:
                _bar_header(ioctx, ref, image_id)
                for name in data_objects(ioctx, image_id, moved) if data else ():
                    ioctx.remove_object(name)
                    moved()
                _gone_already(lambda: ioctx.remove_object(f"rbd_object_map.{image_id}"))
                _gone_already(
                    lambda: _call(ioctx, _DIRECTORY, "dir_remove_image", encoded(ref.name), encoded(image_id))
                )
            _gone_already(lambda: _remove_id_object(ioctx, ref, image_id))
            if image_id:
                _remove_blank_header(ioctx, ref, image_id)

    cluster.call_in_steps(f"removing what is left of {ref}", remove)


def _bar_header(ioctx: Any, ref: ImageRef, image_id: str) -> None:
    header = f"rbd_header.{image_id}"
    with rados.WriteOpCtx() as operation:
        operation.new(rados.LIBRADOS_CREATE_EXCLUSIVE)
        try:
            ioctx.operate_write_op(operation, header)
            return
        except rados.ObjectExists:
            pass
    # It may be what an earlier run put there.
    with rados.WriteOpCtx() as operation, _comparing(_made_meanwhile(ref)):
        _compare_blank(operation)
        operation.set_xattr("virtrbd.removing", b"1")
        ioctx.operate_write_op(operation, header)


def _remove_blank_header(ioctx: Any, ref: ImageRef, image_id: str) -> None:
    with rados.WriteOpCtx() as operation, _comparing(_made_meanwhile(ref)):
        _compare_blank(operation)
        operation.remove()
        ioctx.operate_write_op(operation, f"rbd_header.{image_id}")


def _compare_blank(operation: Any) -> None:
    # Every header has a size; a key that is missing compares as an empty value.
    operation.omap_cmp("size", "", rados.LIBRADOS_CMPXATTR_OP_EQ)


@contextmanager
def _comparing(error: ClusterError) -> Iterator[None]:
    """Raise the error where a comparison in a write op fails."""
    try:
        yield
    except rados.OSError as raised:
        if abs(raised.errno) == _DIFFERS or abs(raised.errno) >= _DIFFERS_AT:
            raise error from None
        raise


def _made_meanwhile(ref: ImageRef) -> ClusterError:
    return ClusterError(f"image {ref} has a header by now: another client has just made it; look at it again")


def _remove_id_object(ioctx: Any, ref: ImageRef, image_id: str) -> None:
    """Remove the id object of the name, where it says that id. Raises rados.ObjectNotFound where there is none."""
    # A missing object compares as zeroes.
    ioctx.stat(f"rbd_id.{ref.name}")
    with rados.WriteOpCtx() as operation, _comparing(_changed(ref)):
        operation.cmpext(encoded(image_id), 0)
        operation.remove()
        ioctx.operate_write_op(operation, f"rbd_id.{ref.name}")


def _changed(ref: ImageRef) -> ClusterError:
    return ClusterError(f"image {ref} was changed meanwhile; run again")


def _gone_already(remove: Callable[[], object]) -> None:
    with suppress(rados.ObjectNotFound):
        remove()


def write_id_object(cluster: Cluster, ref: ImageRef, image_id: str) -> None:
    """Make the name lead to the image. Raises ClusterError where it leads somewhere by now."""

    def write(ioctx: Any) -> None:
        with rados.WriteOpCtx() as operation:
            operation.new(rados.LIBRADOS_CREATE_EXCLUSIVE)
            operation.execute("rbd", "set_id", encoded(image_id))
            try:
                ioctx.operate_write_op(operation, f"rbd_id.{ref.name}")
            except rados.ObjectExists:
                raise _changed(ref) from None

    _on(cluster, f"writing the id object of {ref}", ref, write)


def drop_id_object(cluster: Cluster, ref: ImageRef, image_id: str) -> None:
    """Remove a name from an image that has another name. Raises ClusterError where it leads elsewhere by now."""
    _on(cluster, f"removing the id object of {ref}", ref, lambda ioctx: _remove_id_object(ioctx, ref, image_id))


def list_image(cluster: Cluster, ref: ImageRef, image_id: str) -> None:
    """Add the image to the list of its pool."""
    _change(cluster, f"listing {ref}", ref, _DIRECTORY, "dir_add_image", encoded(ref.name), encoded(image_id))


def unlist_image(cluster: Cluster, ref: ImageRef, image_id: str) -> None:
    """Remove the image from the list of its pool."""
    _change(cluster, f"unlisting {ref}", ref, _DIRECTORY, "dir_remove_image", encoded(ref.name), encoded(image_id))


def settle_trash(cluster: Cluster, ref: ImageRef, image_id: str, state: TrashState) -> None:
    """Set an image in the trash, found in that state, to normal."""
    states = struct.pack("<BB", TrashState.NORMAL.value, state.value)
    _change(
        cluster, f"ending the move of {ref} to the trash", ref, _TRASH, "trash_state_set", encoded(image_id), states
    )


def drop_trash_entry(cluster: Cluster, ref: ImageRef, image_id: str) -> None:
    """Remove the image from the list of the trash."""
    _change(cluster, f"taking {ref} out of the trash", ref, _TRASH, "trash_remove", encoded(image_id))


def break_lock(cluster: Cluster, ref: ImageRef, image_id: str, lock: Lock) -> None:
    """Break a lock; Ceph then no longer lets its holder write. Raises ImageBusyError while any client has the image
    open."""

    def take(ioctx: Any) -> None:
        with open_image(ioctx, ref, image_id=image_id) as image:
            refuse_watched(cluster, ref, image)
            image.break_lock(lock.client, lock.cookie)

    _on(cluster, f"breaking the lock on {ref}", ref, take)


def forget_clone(cluster: Cluster, ref: ImageRef, image_id: str, clone: LostClone) -> None:
    """Remove a clone that is gone from the list of its parent."""
    snapshot = struct.pack("<Q", clone.parent_snapshot_id)

    def forget(ioctx: Any) -> None:
        if clone.is_old:
            parent = struct.pack("<q", ioctx.get_pool_id()) + encoded(image_id) + snapshot
            with cluster.ioctx(clone.where) as ioctx:
                _call(ioctx, "rbd_children", "remove_child", parent, encoded(clone.image_id))
        else:
            child = _child(clone.pool_id, clone.where.namespace, clone.image_id)
            _call(ioctx, f"rbd_header.{image_id}", "child_detach", snapshot, child)

    _on(cluster, f"taking a clone off the list of {ref}", ref, forget)


def complete_made(cluster: Cluster, ref: ImageRef, image_id: str) -> None:
    """Write what librbd writes last of a new image, where a kill left it out: its object map, its place on its
    parent's list. Raises ClusterError, UnavailableError."""
    note_clone(cluster, ref, image_id)

    def lacks_map() -> bool:
        with cluster.ioctx(ref) as ioctx:
            header = read_header(ioctx, image_id)
            has_map = header is not None and bool(header.features & rbd.RBD_FEATURE_OBJECT_MAP)
            return has_map and not has_object(ioctx, f"rbd_object_map.{image_id}")

    if cluster.call(f"looking for the object map of {ref}", lacks_map):
        rebuild_object_map(cluster, ref, image_id)


def note_clone(cluster: Cluster, ref: ImageRef, image_id: str) -> bool:
    """Add a clone to the list of its parent, if it is missing; return whether it was missing.

    A kill between librbd's two writes leaves it out, and the snapshot could be removed under it.
    """

    def note() -> bool:
        with cluster.ioctx(ref) as ioctx:
            key = parent_of(ioctx, image_id)
            if key is None or is_listed_clone(cluster, ioctx, image_id, key):
                return False
            where = ImageRef(pool=cluster.name_of_pool(key.pool_id), namespace=key.namespace, name="")
            snapshot = struct.pack("<Q", key.snapshot_id)
            with open_image(ioctx, ref, image_id=image_id, read_only=True) as image:
                is_old = not image.op_features() & rbd.RBD_OPERATION_FEATURE_CLONE_CHILD
            if is_old:
                parent = struct.pack("<q", key.pool_id) + encoded(key.image_id) + snapshot
                _call(ioctx, "rbd_children", "add_child", parent, encoded(image_id))
            else:
                child = _child(ioctx.get_pool_id(), ref.namespace, image_id)
                with cluster.ioctx(where) as parents:
                    _call(parents, f"rbd_header.{key.image_id}", "child_attach", snapshot, child)
            return True

    return cluster.call(f"noting the clone {ref} with its parent", note, changes=True)


def forget_parent(cluster: Cluster, ref: ImageRef, image_id: str) -> None:
    """Detach a clone from a parent that is gone, so that the clone can be opened."""
    _change(cluster, f"detaching {ref} from its parent", ref, f"rbd_header.{image_id}", "parent_detach")


def _child(pool_id: int, namespace: str, image_id: str) -> bytes:
    """Return a clone as cls_rbd's ChildImageSpec has it: pool, id, namespace."""
    body = struct.pack("<q", pool_id) + encoded(image_id) + encoded(namespace)
    # Version 2 has the namespace.
    return struct.pack("<BBI", 2, 1, len(body)) + body


def _change(cluster: Cluster, what: str, ref: ImageRef, object_name: str, method: str, *arguments: bytes) -> None:
    _on(cluster, what, ref, lambda ioctx: _call(ioctx, object_name, method, *arguments))


def _on(cluster: Cluster, what: str, ref: ImageRef, use: Callable[[Any], None]) -> None:
    def run() -> None:
        with cluster.ioctx(ref) as ioctx:
            ioctx.set_osdmap_full_try()
            try:
                use(ioctx)
            except rados.ObjectNotFound:
                raise _changed(ref) from None

    cluster.call(what, run, changes=True)


def _call(ioctx: Any, object_name: str, method: str, *arguments: bytes) -> None:
    """Change an object by a method of cls_rbd."""
    with rados.WriteOpCtx() as operation:
        operation.execute("rbd", method, b"".join(arguments))
        ioctx.operate_write_op(operation, object_name)
