"""How much an image takes, by fast-diff."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from virtrbd.ceph.bindings import rbd
from virtrbd.ceph.cluster import Cluster, Moved
from virtrbd.ceph.contents import user_snapshots_of
from virtrbd.ceph.opening import open_image
from virtrbd.ceph.texts import as_bytes
from virtrbd.ceph.unread import image_or_failure
from virtrbd.model.failure import Failure
from virtrbd.model.image import ImageRef
from virtrbd.model.image_details import Usage

_AT_A_TIME = 8


def read_usages(cluster: Cluster, refs: Sequence[ImageRef]) -> dict[ImageRef, Usage | Failure | None]:
    """Return how much each image takes, None where it has no valid fast-diff; images that are gone are left out."""

    def look(ref: ImageRef, moved: Moved) -> dict[ImageRef, Usage | None]:
        try:
            with cluster.ioctx(ref) as ioctx, open_image(ioctx, ref, read_only=True, any_format=True) as image:
                return {ref: usage_of(ioctx, ref, image, moved)}
        except rbd.ImageNotFound:
            return {}

    def read(ref: ImageRef) -> dict[ImageRef, Usage | None] | Failure:
        what = f"reading usage of {ref}"
        return image_or_failure(cluster, ref, lambda: cluster.call_in_steps(what, partial(look, ref)))

    found: dict[ImageRef, Usage | Failure | None] = {}
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        for ref, part in zip(refs, pool.map(read, refs), strict=True):
            found |= {ref: part} if isinstance(part, Failure) else part
    return found


def usage_of(ioctx: Any, ref: ImageRef, image: Any, moved: Moved) -> Usage | None:
    """Return how much the open image takes, None without fast-diff: every object would have to be queried.

    Counted as `rbd du` does: whole objects, for each snapshot the changes since the snapshot before it.
    """
    if not image.features() & rbd.RBD_FEATURE_FAST_DIFF:
        return None
    by_snapshot: dict[str, int] = {}
    before: Mapping[str, Any] | None = None
    for snapshot in sorted(user_snapshots_of(ioctx, image), key=lambda snap: int(snap["id"])):
        image.set_snap_by_id(snapshot["id"])
        changed = _changed(image, before)
        if changed is None:
            return None
        moved()
        by_snapshot[snapshot["name"]] = changed
        # librbd ends the process when the diff begins at a snapshot without a byte (measured with 16.2).
        before = snapshot if snapshot["size"] else None
    image.set_snap(None)
    used = _changed(image, before)
    moved()
    if used is None:
        return None
    return Usage(ref=ref, size_bytes=image.size(), used_bytes=used, by_snapshot=by_snapshot)


def _changed(image: Any, since: Mapping[str, Any] | None) -> int | None:
    """Return the bytes in objects that changed since the snapshot, None where the object map is not valid."""
    if image.flags() & rbd.RBD_FLAG_FAST_DIFF_INVALID:
        return None
    total = 0

    def count(_offset: int, length: int, exists: bool) -> None:
        nonlocal total
        total += length if exists else 0

    if size := image.size():
        begin = as_bytes(since["name"]) if since else None
        try:
            image.diff_iterate(0, size, begin, count, include_parent=False, whole_object=True)
        except TypeError:
            # Ceph 18 and later take text or an id here, 16 text or bytes (measured); not all names are text.
            image.diff_iterate(0, size, since and since["id"], count, include_parent=False, whole_object=True)
    return total
