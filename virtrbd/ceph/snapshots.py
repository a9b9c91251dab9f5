"""Snapshots of images: made, protected, removed."""

from collections.abc import Callable
from typing import Any

from virtrbd.ceph.bindings import rbd
from virtrbd.ceph.cluster import Cluster
from virtrbd.ceph.pools import refuse_full
from virtrbd.errors import ClusterError
from virtrbd.model.image import ImageRef


def create_snapshot(cluster: Cluster, ref: ImageRef, name: str, *, protect: bool) -> bool:
    """Create a snapshot of the image, protected on request; return whether it was not there. Raises ClusterError."""

    def create(image: Any) -> bool:
        is_new = name not in {snap["name"] for snap in image.list_snaps()}
        if is_new:
            image.create_snap(name)
        if protect and not image.is_protected_snap(name):
            image.protect_snap(name)
        return is_new

    refuse_full(cluster, ref.pool)
    return cluster.with_image(f"creating snapshot {ref}@{name}", ref.image, create)


def protect_snapshot(cluster: Cluster, ref: ImageRef) -> bool:
    """Protect a snapshot, which clones v1 need; return whether it was not protected. Raises ClusterError."""

    def protect(image: Any) -> bool:
        _require(ref, image)
        is_new = not image.is_protected_snap(ref.snapshot)
        if is_new:
            image.protect_snap(ref.snapshot)
        return is_new

    refuse_full(cluster, ref.pool)
    return cluster.with_image(f"protecting snapshot {ref}", ref.image, protect)


def unprotect_snapshot(cluster: Cluster, ref: ImageRef, image_id: str) -> None:
    """Unprotect a snapshot that has no clones. Raises ClusterError."""
    _on(cluster, f"unprotecting snapshot {ref}", ref, image_id, lambda image: image.unprotect_snap(ref.snapshot))


def remove_snapshot(cluster: Cluster, ref: ImageRef, image_id: str) -> None:
    """Remove a snapshot that is not protected. Raises ClusterError."""
    _on(cluster, f"removing snapshot {ref}", ref, image_id, lambda image: image.remove_snap(ref.snapshot))


def _require(ref: ImageRef, image: Any) -> None:
    names = sorted(snap["name"] for snap in image.list_snaps() if snap["namespace"] == 0)
    if ref.snapshot not in names:
        raise ClusterError(f"snapshot {ref} does not exist; {ref.image} has {', '.join(names) or 'none'}")


def _on(cluster: Cluster, what: str, ref: ImageRef, image_id: str, use: Callable[[Any], None]) -> None:
    """Use the image by its id: so it is the one that was looked at, also in the trash."""

    def run() -> None:
        with cluster.ioctx(ref) as ioctx:
            ioctx.set_osdmap_full_try()
            with rbd.Image(ioctx, image_id=image_id) as image:
                use(image)

    cluster.call(what, run)
