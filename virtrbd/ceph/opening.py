"""Open images: the only place that calls `rbd.Image`."""

import struct
from typing import Any

from virtrbd.ceph.bindings import rados, rbd
from virtrbd.ceph.class_calls import id_of, parent_of
from virtrbd.ceph.header import ParentKey, decode_id
from virtrbd.ceph.texts import as_bytes, bindings_or_bytes, is_utf8
from virtrbd.errors import ClusterError, DeniedError
from virtrbd.model.image import ImageRef
from virtrbd.printable import shell_command


class _Nameless(rbd.Image):  # type: ignore[misc]
    """An image whose name is not UTF-8, opened by its id: the bindings ask for its name then, and decode it."""

    def get_name(self) -> str:
        return ""


def open_image(
    ioctx: Any,
    ref: ImageRef,
    *,
    image_id: str = "",
    at_snapshot: bool = False,
    read_only: bool = False,
    any_format: bool = False,
) -> Any:
    """Return the image, open; by its id where one is given, as in the trash.

    An image of format 1, which has no id, is refused without `any_format`. Raises rbd.ImageNotFound for an image that
    is surely absent, ClusterError where it exists and cannot be opened, DeniedError where its parent may not be read.
    """
    name, its_id = (None, as_bytes(image_id)) if image_id else (as_bytes(ref.name), None)
    snapshot = as_bytes(ref.snapshot) if at_snapshot and ref.snapshot else None
    try:
        image = bindings_or_bytes(
            lambda: rbd.Image(ioctx, name, snapshot, read_only, its_id),
            lambda: _Nameless(ioctx, name, snapshot, read_only, its_id),
        )
    except rbd.ImageNotFound:
        # librbd says the same for an image that was interrupted in its making, and for a clone whose parent is gone.
        if snapshot is None and (is_there(ioctx, ref, image_id) or (not image_id and is_listed(ioctx, ref))):
            raise ClusterError(_why_not(ioctx, ref, image_id)) from None
        raise
    except rbd.PermissionError:
        parent = _parent(ioctx, ref, image_id)
        if parent is None or parent.pool_id == ioctx.get_pool_id():
            raise
        raise DeniedError(
            f"image {ref.image} is a clone, and virtrbd's user may not read its parent, which is in the pool with "
            f"number {parent.pool_id} (`ceph osd lspools`); add `profile rbd-read-only pool=NAME` to its osd caps with "
            f"`ceph auth caps`"
        ) from None
    if not any_format:
        _refuse_format_1(ref, image)
    return image


def _refuse_format_1(ref: ImageRef, image: Any) -> None:
    """Raise ClusterError for an image that has no id, no features and no metadata, where marks are kept."""
    if image.old_format():
        image.close()
        migrate = shell_command("rbd migration prepare", ref.image)
        raise ClusterError(
            f"image {ref.image} is of format 1, which RBD no longer makes and virtrbd only lists; `{migrate}`, then "
            f"rbd migration execute and commit, convert it to format 2, and so does `rbd export` with `virtrbd image "
            f"import`"
        )


def _why_not(ioctx: Any, ref: ImageRef, image_id: str) -> str:
    """Return why an existing image does not open, and the way out."""
    which = f"image {ref.image} (id {image_id})" if image_id else f"image {ref.image}"
    repair = shell_command("virtrbd image repair", ref.image, options="--plan")
    parent = _parent(ioctx, ref, image_id)
    if parent is None:
        return f"{which} is half-made or half-removed; `{repair}` shows what is left of it"
    return (
        f"{which} is a clone, and its parent (id {parent.image_id} in the pool with number {parent.pool_id}) is gone: "
        f"the data that it did not copy from there is lost; `{repair}` says how to read the rest"
    )


def _parent(ioctx: Any, ref: ImageRef, image_id: str) -> ParentKey | None:
    """Return the parent that the image's header names, None where there is no header, or none with a parent."""
    if not image_id:
        try:
            image_id = decode_id(ioctx.read(f"rbd_id.{ref.name}")) if is_utf8(ref.name) else id_of(ioctx, ref.name)
        except rados.ObjectNotFound:
            return None
    try:
        return parent_of(ioctx, image_id)
    except (rados.ObjectNotFound, ValueError, struct.error):
        return None


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
    """Whether the directory has the name: then librbd makes no image of that name, although there is none."""
    try:
        return bool(id_of(ioctx, ref.name))
    except (rados.PermissionError, rados.PermissionDeniedError):
        # A user who may only read some images.
        return False
