"""Images opened: the one place that calls `rbd.Image`."""

from typing import Any

from virtrbd.ceph.bindings import rados, rbd
from virtrbd.ceph.class_calls import id_of
from virtrbd.ceph.texts import as_bytes, bindings_or_bytes, is_utf8
from virtrbd.errors import ClusterError
from virtrbd.model.image import ImageRef
from virtrbd.printable import shell_command


class _Nameless(rbd.Image):  # type: ignore[misc]
    """An image whose name is not UTF-8, opened by its id: the bindings ask for its name then, and decode it."""

    def get_name(self) -> str:
        return ""


def open_image(
    ioctx: Any, ref: ImageRef, *, image_id: str = "", at_snapshot: bool = False, read_only: bool = False
) -> Any:
    """Return the image, open; by its id where one is given, as in the trash. Raises rbd.ImageNotFound for one that is
    surely absent, ClusterError for one that is there and cannot be opened.
    """
    name, its_id = (None, as_bytes(image_id)) if image_id else (as_bytes(ref.name), None)
    snapshot = as_bytes(ref.snapshot) if at_snapshot and ref.snapshot else None
    try:
        return bindings_or_bytes(
            lambda: rbd.Image(ioctx, name, snapshot, read_only, its_id),
            lambda: _Nameless(ioctx, name, snapshot, read_only, its_id),
        )
    except rbd.ImageNotFound:
        # librbd says the same of an image whose parent's pool is gone, or that has lost its header.
        if snapshot is None and is_there(ioctx, ref, image_id):
            raise _unopenable(ref, image_id) from None
        if snapshot is None and not image_id and is_listed(ioctx, ref):
            raise ClusterError(
                f"the pool lists image {ref.image} and it has no header; what an ended `rbd create` or `rbd rm` left "
                f"is removed with `{shell_command('rbd rm', ref.image)}`"
            ) from None
        raise


def is_there(ioctx: Any, ref: ImageRef, image_id: str = "") -> bool:
    """Whether there is an image of that name (of the current format or the oldest), or with that id, without opening
    it."""
    if not image_id and not is_utf8(ref.name):
        return bool(id_of(ioctx, ref.name))
    names = (f"rbd_header.{image_id}",) if image_id else (f"rbd_id.{ref.name}", f"{ref.name}.rbd")
    for object_name in names:
        try:
            ioctx.stat(object_name)
        except rados.ObjectNotFound:
            continue
        return True
    return False


def is_listed(ioctx: Any, ref: ImageRef) -> bool:
    """Whether the room's directory has the name: then librbd makes no image of it, though there is none."""
    try:
        return bool(id_of(ioctx, ref.name))
    except (rados.PermissionError, rados.PermissionDeniedError):
        # Who may only read some images.
        return False


def _unopenable(ref: ImageRef, image_id: str) -> ClusterError:
    which = f"image {ref.image} (id {image_id})" if image_id else f"image {ref.image}"
    return ClusterError(
        f"{which} is there and cannot be opened: its header, or the pool of its parent, is gone; what an ended "
        f"`rbd create` or `rbd rm` left is removed with `rbd rm`"
    )
