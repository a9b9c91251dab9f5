"""An open image, described."""

from dataclasses import replace
from typing import Any

from virtrbd.ceph.bindings import rbd
from virtrbd.ceph.features import feature_names, seconds_of
from virtrbd.ceph.metadata import STATE, config_of, mark_of, running_on, seed_of
from virtrbd.ceph.obstacles import obstacles_of
from virtrbd.model.image import Image, ImageRef, Watcher


def describe(ref: ImageRef, image: Any, usage: bool) -> Image:
    """Return what the image says of itself; how much it has allocated only for `usage`, which takes longer."""
    metadata = dict(image.metadata_list())
    described = Image(
        ref=ref,
        image_id=str(image.id()),
        size_bytes=image.size(),
        created_at=seconds_of(image.create_timestamp()) if ref.snapshot == "" else 0.0,
        mark=mark_of(metadata, image.id()),
        state=metadata.get(STATE, ""),
        running_on=running_on(metadata, image.id()),
        seed=seed_of(metadata, image.id()),
        parent=_parent(image),
        watchers=watchers_of(image),
        obstacles=obstacles_of(ref.image, image),
        object_bytes=1 << image.stat()["order"],
        features=feature_names(image.features()),
        snapshots=tuple(sorted(snap["name"] for snap in image.list_snaps() if snap.get("namespace", 0) == 0)),
        config=config_of(metadata),
    )
    return replace(described, allocated_bytes=_allocated(image)) if usage else described


def _allocated(image: Any) -> int | None:
    """Bytes in allocated objects, by fast-diff; None where there is none: without it every object is asked for."""
    if not image.features() & rbd.RBD_FEATURE_FAST_DIFF or image.flags() & rbd.RBD_FLAG_FAST_DIFF_INVALID:
        return None
    total = 0

    def count(_offset: int, length: int, exists: bool) -> None:
        nonlocal total
        total += length if exists else 0

    image.diff_iterate(0, image.size(), None, count, include_parent=False, whole_object=True)
    return total


def watchers_of(image: Any) -> tuple[Watcher, ...]:
    """Return the clients that have the image open read-write, ourselves among them."""
    found = {Watcher(address=item["addr"], client_id=item["id"]) for item in image.watchers_list()}
    return tuple(sorted(found, key=lambda watcher: watcher.client_id))


def _parent(image: Any) -> ImageRef | None:
    try:
        spec = image.get_parent_image_spec()
    except rbd.ImageNotFound:
        return None
    return ImageRef(
        pool=spec["pool_name"], namespace=spec["pool_namespace"], name=spec["image_name"], snapshot=spec["snap_name"]
    )
