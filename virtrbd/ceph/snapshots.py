"""Snapshots of images: make, protect, remove."""

from collections.abc import Callable
from typing import Any

from virtrbd.ceph.bindings import rbd
from virtrbd.ceph.cluster import Cluster
from virtrbd.ceph.contents import snapshots_of, user_snapshots_of
from virtrbd.ceph.obstacles import naming_obstacles
from virtrbd.ceph.opening import open_image
from virtrbd.ceph.pools import refuse_full
from virtrbd.ceph.texts import as_bytes
from virtrbd.errors import ClusterError
from virtrbd.model.image import ImageRef
from virtrbd.printable import shell_command


def create_snapshot(cluster: Cluster, ref: ImageRef, name: str, *, protect: bool) -> bool:
    """Create a snapshot of the image, protected on request; return whether it is new. Raises ClusterError."""

    raw = as_bytes(name)

    def create(ioctx: Any, image: Any) -> bool:
        is_new = name not in {snap["name"] for snap in user_snapshots_of(ioctx, image)}
        if is_new:
            _refuse_taken(ref, name, ioctx, image)
        if is_new:
            try:
                image.create_snap(raw)
            except rbd.DiskQuotaExceeded:
                raise _too_many(ref, image) from None
        if protect and not image.is_protected_snap(raw):
            image.protect_snap(raw)
        return is_new

    refuse_full(cluster, ref.pool)
    return cluster.with_image(f"creating snapshot {ref}@{name}", ref.image, create)


def _too_many(ref: ImageRef, image: Any) -> ClusterError:
    # The bindings call it a disk's quota.
    limit = image.get_snap_limit()
    raise_it = shell_command("rbd snap limit set", ref, options="--limit NUMBER")
    return ClusterError(
        f"image {ref} may not have another snapshot: its limit is {limit}; remove one "
        f"({shell_command('virtrbd image snapshot list', ref)}), or raise that: {raise_it}"
    )


def protect_snapshot(cluster: Cluster, ref: ImageRef) -> bool:
    """Protect a snapshot, which clones v1 need; return whether that was new. Raises ClusterError."""

    raw = as_bytes(ref.snapshot)

    def protect(ioctx: Any, image: Any) -> bool:
        _require(ref, ioctx, image)
        is_new = not image.is_protected_snap(raw)
        if is_new:
            image.protect_snap(raw)
        return is_new

    refuse_full(cluster, ref.pool)
    return cluster.with_image(f"protecting snapshot {ref}", ref.image, protect)


def unprotect_snapshot(cluster: Cluster, ref: ImageRef, image_id: str) -> None:
    """Unprotect a snapshot that has no clones. Raises ClusterError."""
    name = as_bytes(ref.snapshot)
    _on(cluster, f"unprotecting snapshot {ref}", ref, image_id, lambda image: image.unprotect_snap(name))


def remove_snapshot(cluster: Cluster, ref: ImageRef, image_id: str, snapshot_id: int = 0) -> None:
    """Remove a snapshot that is not protected, by its id where it has only that. Raises ClusterError."""
    name = as_bytes(ref.snapshot)

    def remove(image: Any) -> None:
        if snapshot_id:
            image.remove_snap_by_id(snapshot_id)
        else:
            image.remove_snap(name)

    _on(cluster, f"removing snapshot {ref}", ref, image_id, remove)


def _refuse_taken(ref: ImageRef, name: str, ioctx: Any, image: Any) -> None:
    if name in {snap["name"] for snap in snapshots_of(ioctx, image)}:
        look = shell_command("rbd snap ls --all", ref.image)
        raise ClusterError(f"{ref.image}@{name} is a snapshot that a group, a mirror or the trash keeps ({look})")


def _require(ref: ImageRef, ioctx: Any, image: Any) -> None:
    names = sorted(snap["name"] for snap in user_snapshots_of(ioctx, image))
    if ref.snapshot not in names:
        _refuse_taken(ref, ref.snapshot, ioctx, image)
        raise ClusterError(f"snapshot {ref} does not exist; {ref.image} has {', '.join(names) or 'none'}")


def _on(cluster: Cluster, what: str, ref: ImageRef, image_id: str, use: Callable[[Any], None]) -> None:
    """Use the image by its id: so it is the image that was looked at, also in the trash."""

    def run() -> None:
        with cluster.ioctx(ref) as ioctx:
            ioctx.set_osdmap_full_try()
            with open_image(ioctx, ref, image_id=image_id) as image, naming_obstacles(ref, image):
                use(image)

    cluster.call(what, run, changes=True)
