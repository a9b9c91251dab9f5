"""How much an image takes, by fast-diff."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from virtrbd.ceph.bindings import rbd
from virtrbd.ceph.cluster import Cluster, Moved
from virtrbd.model.image import ImageRef
from virtrbd.model.image_details import Usage

_AT_A_TIME = 8


def read_usages(cluster: Cluster, refs: Sequence[ImageRef]) -> dict[ImageRef, Usage | None]:
    """Return how much each image takes, None where it has no valid fast-diff; images that are gone are left out."""

    def read(ref: ImageRef, moved: Moved) -> dict[ImageRef, Usage | None]:
        try:
            with cluster.ioctx(ref) as ioctx, rbd.Image(ioctx, ref.name, read_only=True) as image:
                return {ref: usage_of(ref, image, moved)}
        except rbd.ImageNotFound:
            return {}

    found: dict[ImageRef, Usage | None] = {}
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        for part in pool.map(lambda ref: cluster.call_in_steps(f"reading usage of {ref}", partial(read, ref)), refs):
            found |= part
    return found


def usage_of(ref: ImageRef, image: Any, moved: Moved) -> Usage | None:
    """Return how much the open image takes, None without fast-diff: every object would have to be asked for.

    Counted as `rbd du` counts: whole objects, of each snapshot what changed since the one before it.
    """
    if not image.features() & rbd.RBD_FEATURE_FAST_DIFF:
        return None
    by_snapshot: dict[str, int] = {}
    before = None
    people_made = [snap for snap in image.list_snaps() if snap["namespace"] == rbd.RBD_SNAP_NAMESPACE_TYPE_USER]
    for snapshot in sorted(people_made, key=lambda snap: int(snap["id"])):
        image.set_snap_by_id(snapshot["id"])
        changed = _changed(image, before)
        if changed is None:
            return None
        moved()
        by_snapshot[snapshot["name"]] = changed
        before = snapshot["name"]
    image.set_snap(None)
    used = _changed(image, before)
    moved()
    if used is None:
        return None
    return Usage(ref=ref, size_bytes=image.size(), used_bytes=used, by_snapshot=by_snapshot)


def _changed(image: Any, since: str | None) -> int | None:
    """Return the bytes in objects that changed since the snapshot, None where the object map is not valid."""
    if image.flags() & rbd.RBD_FLAG_FAST_DIFF_INVALID:
        return None
    total = 0

    def count(_offset: int, length: int, exists: bool) -> None:
        nonlocal total
        total += length if exists else 0

    image.diff_iterate(0, image.size(), since, count, include_parent=False, whole_object=True)
    return total
