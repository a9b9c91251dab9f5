"""The description of an open image: reads an `Image` through an open handle."""

from typing import Any

from virtrbd.ceph.bindings import rbd
from virtrbd.ceph.cluster import Cluster
from virtrbd.ceph.contents import metadata_of, object_bytes_of, parent_of, user_snapshots_of
from virtrbd.ceph.features import feature_names, seconds_of
from virtrbd.ceph.metadata import config_of, last_run_of, mark_of, running_on, seed_of, state_of
from virtrbd.ceph.obstacles import obstacles_of
from virtrbd.model.image import Image, ImageRef, Watcher
from virtrbd.model.record import replace


def describe_image(cluster: Cluster, ioctx: Any, ref: ImageRef, image: Any, usage: bool) -> Image:
    """Return the image's description; its allocated bytes only with `usage`, which takes longer."""
    metadata = metadata_of(ioctx, image)
    described = Image(
        ref=ref,
        image_id=str(image.id()),
        size_bytes=image.size(),
        created_at=seconds_of(image.create_timestamp()) if ref.snapshot == "" else 0.0,
        mark=mark_of(metadata, image.id()),
        state=state_of(metadata, image.id()),
        running_on=running_on(metadata, image.id()),
        last_run=last_run_of(metadata, image.id()),
        seed=seed_of(metadata, image.id()),
        parent=parent_of(cluster, ioctx, image),
        watchers=watchers_of(image),
        obstacles=obstacles_of(ref.image, image),
        object_bytes=object_bytes_of(ioctx, image),
        features=feature_names(image.features()),
        snapshots=tuple(sorted(snap["name"] for snap in user_snapshots_of(ioctx, image))),
        config=config_of(metadata),
    )
    return replace(described, allocated_bytes=_allocated(image)) if usage else described


def _allocated(image: Any) -> int | None:
    """Bytes in allocated objects, by fast-diff; None without fast-diff, where every object would be queried."""
    # librbd ends the process for an image without a byte (measured with 16.2).
    if not image.size():
        return 0
    if not image.features() & rbd.RBD_FEATURE_FAST_DIFF or image.flags() & rbd.RBD_FLAG_FAST_DIFF_INVALID:
        return None
    total = 0

    def count(_offset: int, length: int, exists: bool) -> None:
        nonlocal total
        total += length if exists else 0

    image.diff_iterate(0, image.size(), None, count, include_parent=False, whole_object=True)
    return total


def watchers_of(image: Any) -> tuple[Watcher, ...]:
    """Return the clients that have the image open read-write, virtrbd itself among them."""
    found = {Watcher(address=item["addr"], client_id=item["id"]) for item in image.watchers_list()}
    return tuple(sorted(found, key=lambda watcher: watcher.client_id))
