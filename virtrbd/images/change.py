"""Change an existing image as a whole: grow, flatten, roll back. Refused while the image is in use."""

from collections.abc import Callable, Sequence

from msgspec import Struct

from virtrbd.ceph.details import missing_snapshot, read_details
from virtrbd.ceph.features import OBJECT_MAP_INVALID
from virtrbd.ceph.images import read_image, set_state
from virtrbd.ceph.long_calls import flatten_image, roll_back_image
from virtrbd.ceph.making import grow_image
from virtrbd.ceph.trash import missing_image_error
from virtrbd.ceph.watchers import registered
from virtrbd.ending import finishing
from virtrbd.errors import BlockedError, ClusterError, HypervisorError, ImageBusyError
from virtrbd.images.host import Host
from virtrbd.images.require import not_ready_error, require_image
from virtrbd.images.traces import drop_rollback, note_rollback
from virtrbd.images.wait import once_free
from virtrbd.lazily import lazily
from virtrbd.model.hazard import Hazard
from virtrbd.model.image import Image, ImageRef
from virtrbd.model.image_state import RollingBack
from virtrbd.model.image_use import DomainUse
from virtrbd.model.size import format_size
from virtrbd.planning.objections import (
    Objection,
    growth_objections,
    objections,
    obstacle_objection,
    owner_objections,
)

# It imports libvirt's bindings, which a machine for images alone does not have.
with lazily():
    from virtrbd.hypervisor.live_changes import block_resize


def require_ready(host: Host, ref: ImageRef) -> Image:
    """Return the image to change. Raises ClusterError, BlockedError when it is another host's, and UnavailableError,
    DeniedError where that is unknown."""
    image = require_image(host, ref)
    host.require_owner(image)
    # For a lock, and for an image that is not primary, librbd says that the image is read-only.
    obstacles = map(obstacle_objection, image.obstacles)
    refuse(ref, [*obstacles, *owner_objections(image, host.host_uuid)], host.allowed)
    if image.state:
        raise not_ready_error(image)
    return image


def refuse(ref: ImageRef, found: Sequence[Objection], allowed: frozenset[Hazard]) -> None:
    """Raise BlockedError when every objection could be allowed, else ClusterError: ImageBusyError where it may
    disappear by itself."""
    standing = [each for each in found if each.hazard is None or each.hazard not in allowed]
    if not standing:
        return
    text = f"image {ref}: " + "; ".join(map(str, standing))
    if all(each.hazard for each in standing):
        raise BlockedError(text)
    if all(each.lingers for each in standing):
        raise ImageBusyError(text, tuple(each.text for each in standing))
    raise ClusterError(text)


def once_not_used(host: Host, ref: ImageRef, find: Callable[[Image], Sequence[Objection]]) -> Image:
    """Return the image once there is no objection to changing it; waits for what a crash left open.

    Raises ImageBusyError, BlockedError, ClusterError.
    """

    def look() -> Image:
        image = require_image(host, ref)
        refuse(ref, find(image), host.allowed)
        return image

    return once_free(look, wait_s=host.settings.timeouts.watcher, say=host.say)


class Growth(Struct, frozen=True, kw_only=True):
    """The size of an image before it grew, and the running domain whose guest sees the new one, or ""."""

    from_bytes: int
    seen_by: str = ""


def grow(host: Host, uses: Sequence[DomainUse] | None, ref: ImageRef, to_bytes: int) -> Growth:
    """Grow an image.

    Raises ClusterError for a smaller size, ImageBusyError, BlockedError, HypervisorError.
    """
    image = once_not_used(host, ref, lambda found: growth_objections(found, uses, host.host_uuid)[1])
    if image.state:
        raise not_ready_error(image)
    if image.size_bytes > to_bytes:
        raise ClusterError(
            f"image {ref} is {format_size(image.size_bytes)}, larger than {format_size(to_bytes)}; images never "
            f"shrink: data behind the new end would be lost, and the file system is not adjusted. Make a smaller image "
            f"and copy the files"
        )
    running, _ = growth_objections(image, uses, host.host_uuid)
    if running:
        # Also an image of that size already: after a growth by rbd alone the guest does not know it.
        target = _target(host, running, ref)
        has_grown_live = block_resize(host.hypervisor, running.uuid, target, image.size_bytes, to_bytes)
        return Growth(from_bytes=image.size_bytes, seen_by=running.name if has_grown_live else "")
    if image.size_bytes < to_bytes:
        grow_image(host.cluster, ref, to_bytes)
        host.did(f"image {ref}: grown to {format_size(to_bytes)}")
    return Growth(from_bytes=image.size_bytes)


def _target(host: Host, use: DomainUse, ref: ImageRef) -> str:
    domain = host.hypervisor.domain(use.uuid)
    disks = domain.live.disks if domain and domain.live else ()
    targets = [disk.target for disk in disks if disk.image == ref]
    if not targets:
        raise HypervisorError(f"domain {use.name} no longer has image {ref}; run again")
    return targets[0]


def roll_back(host: Host, uses: Sequence[DomainUse] | None, ref: ImageRef) -> None:
    """Roll an image back to its snapshot. Raises ImageBusyError, BlockedError, ClusterError, UnavailableError.

    Interrupted it is a mix of both, so the intent is written to the image first: no guest starts on it, and the next
    rollback to the same snapshot, or the next run for its domain, finishes.
    """
    image = require_image(host, ref)
    snapshot = read_image(host.cluster, ref)
    if snapshot is None:
        raise missing_snapshot(host.cluster, ref)
    if Hazard.LOSES_DATA not in host.allowed:
        sizes = f"{format_size(image.size_bytes)} to {format_size(snapshot.size_bytes)}"
        shrinks = f", and it shrinks from {sizes}" if snapshot.size_bytes < image.size_bytes else ""
        raise BlockedError(
            f"image {ref.image}: what was written since {ref} is lost{shrinks}; --allow loses-data does it"
        )
    image = once_not_used(host, ref.image, lambda found: objections(found, uses, host.host_uuid))
    if image.state not in (None, RollingBack(ref.snapshot)):
        raise not_ready_error(image)
    finish_rollback(host, ref)


def finish_rollback(host: Host, ref: ImageRef) -> None:
    """Record the intent, roll back, and record the end. Raises ImageBusyError, ClusterError, UnavailableError."""

    def look() -> None:
        # Held open until the end: a start elsewhere sees it, and waits.
        with registered(host.cluster, [ref.image]) as registration:
            [found] = registration.others().values()
            if found:
                raise ImageBusyError(f"image {ref.image} is open by {', '.join(map(str, found))}", ())
            [obstacles] = registration.obstacles().values()
            refuse(ref.image, [*map(obstacle_objection, obstacles)], frozenset())
            note_rollback(host.state, ref, require_image(host, ref).image_id)
            set_state(host.cluster, ref.image, RollingBack(ref.snapshot))
            roll_back_image(host.cluster, ref)
            with finishing():
                set_state(host.cluster, ref.image, None)
                drop_rollback(host.state, ref)
                host.did(f"image {ref.image}: rolled back to {ref}")

    once_free(look, wait_s=host.settings.timeouts.watcher, say=host.say)


def flatten(host: Host, ref: ImageRef, image_id: str = "") -> bool:
    """Flatten a clone, by its id where one is given; return whether there was anything to do.

    A clone in use may be flattened: librbd asks the holder of its lock to do it. Raises ClusterError, UnavailableError.
    """
    details = read_details(host.cluster, ref, image_id)
    if details is None:
        raise missing_image_error(host.cluster, ref)
    if details.image.state:
        raise not_ready_error(details.image)
    is_parted = not details.parents
    if is_parted and OBJECT_MAP_INVALID not in details.flags:
        return False
    object_bytes = details.image.object_bytes
    # librbd counts objects.
    flatten_image(
        host.cluster,
        ref,
        image_id,
        lambda done, total: host.progress(done * object_bytes, total * object_bytes),
        is_parted=is_parted,
    )
    host.did(f"image {ref}: flattened")
    return True
