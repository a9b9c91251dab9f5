"""RBD's own obstacles to writing to an open image: a lock, a mirror, a migration.

librbd reports little: a write to a locked image waits for ever or fails as "read-only image", a write to a demoted
image fails with EROFS in the guest (measured on 16.2).
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from virtrbd.ceph.bindings import rbd
from virtrbd.errors import ClusterError
from virtrbd.model.image import ImageRef, Obstacle
from virtrbd.printable import quoted, shell_command

# librbd's own exclusive lock, which it takes and releases by itself (librbd/ManagedLock: the tag, and `auto N`).
OWN_LOCK = "internal"


def obstacles_of(ref: ImageRef, image: Any) -> tuple[Obstacle, ...]:
    """Return why the open image must not be written to now; librbd's own exclusive lock does not count."""
    return (*_locks(ref, image), *lasting_obstacles(ref, image))


def lasting_obstacles(ref: ImageRef, image: Any) -> tuple[Obstacle, ...]:
    """Return the obstacles other than locks."""
    return (*_mirror(ref, image), *_migration(ref, image))


def refuse_obstacles(ref: ImageRef, image: Any) -> None:
    """Raise ClusterError where RBD itself has an obstacle to writing to the open image."""
    if found := obstacles_of(ref.image, image):
        raise ClusterError(f"image {ref.image}: {'; '.join(map(str, found))}")


@contextmanager
def naming_obstacles(ref: ImageRef, image: Any) -> Iterator[None]:
    """Name RBD's obstacle to a write in the block; librbd itself only says "read-only image"."""
    try:
        yield
    except rbd.ReadOnlyImage:
        refuse_obstacles(ref, image)
        raise


def _locks(ref: ImageRef, image: Any) -> list[Obstacle]:
    held = image.list_lockers()
    if not held or held["tag"] == OWN_LOCK:
        return []
    repair = shell_command("virtrbd image repair", ref, options="--plan")
    return [
        Obstacle(
            text=f"{client} at {address.split('/')[0]} holds the lock {quoted(cookie)} on it",
            way_out=f"ask its holder; {repair} shows whether the holder still has it open, and breaks the lock",
        )
        for client, cookie, address in held["lockers"]
    ]


def _mirror(ref: ImageRef, image: Any) -> list[Obstacle]:
    # A pool that is not mirrored answers with an error.
    with suppress(rbd.Error):
        info = image.mirror_image_get_info()
        if info["state"] != rbd.RBD_MIRROR_IMAGE_DISABLED and not info["primary"]:
            text = "it is not primary: it is the copy of an image on another cluster, and read-only"
            promote = shell_command("rbd mirror image promote", ref)
            way_out = f"use it there, or {promote} once the other image is demoted"
            return [Obstacle(text=text, way_out=way_out)]
    return []


def _migration(ref: ImageRef, image: Any) -> list[Obstacle]:
    if not image.features() & rbd.RBD_FEATURE_MIGRATING:
        return []
    execute, commit, abort = (shell_command(f"rbd migration {verb}", ref) for verb in ("execute", "commit", "abort"))
    way_out = f"end it with {execute} and {commit}, or {abort}"
    return [Obstacle(text="it is being migrated from another image", way_out=way_out)]
