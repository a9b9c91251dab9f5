"""Long calls: rollback, flatten, remove. Their progress is watched, they have no fixed deadline.

An op timeout that expires inside one of them tears the image, so they run on a connection without any.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from virtrbd.ceph.bindings import rbd
from virtrbd.ceph.cluster import Cluster
from virtrbd.ceph.contents import snapshots_of, user_snapshots_of
from virtrbd.ceph.errors import translated
from virtrbd.ceph.header_io import invalidate_object_map
from virtrbd.ceph.images import read_image, require_id
from virtrbd.ceph.metadata import SEED, remove_metadata
from virtrbd.ceph.obstacles import naming_obstacles, refuse_obstacles
from virtrbd.ceph.opening import open_image
from virtrbd.ceph.pools import refuse_closed, refuse_full
from virtrbd.ceph.texts import as_bytes
from virtrbd.ceph.trash import refuse_unsettled
from virtrbd.ceph.watchers import busy_error, foreign_watchers, refuse_watched
from virtrbd.deadline import begin, call_watched
from virtrbd.errors import ClusterError, UnavailableError
from virtrbd.model.image import ImageRef, Watcher

if TYPE_CHECKING:
    from virtrbd.model.image_details import TrashEntry

# Done and all, in librbd's own count.
Steps = Callable[[int, int], None]

_LOOK_EVERY_S = 2.0


def flatten_image(cluster: Cluster, ref: ImageRef, image_id: str, progress: Steps, *, is_parted: bool = False) -> None:
    """Copy into a clone what it shares with its parent, and detach it. Interrupted anywhere, the clone stays whole.

    `is_parted`: it was interrupted after that, and only its object map is still invalid.
    With `image_id` it is opened by that: in the trash it has no name. Raises ClusterError, UnavailableError.
    """

    def flatten(ioctx: Any) -> None:
        has_map = _distrust_object_map(ioctx, ref, image_id)
        with open_image(ioctx, ref, image_id=image_id) as image:
            if not is_parted:
                image.flatten(_callback(progress))
            if has_map:
                image.rebuild_object_map()

    _run(cluster, f"flattening {ref}", ref, flatten, writes=True)


def _distrust_object_map(ioctx: Any, ref: ImageRef, image_id: str) -> bool:
    """Make the flatten look for each object instead of using the object map; return whether there is a map.

    A write records its object in the map first. Where a client was killed in between, an earlier flatten or a guest,
    librbd's flatten skips the missing object, and its data is lost with the parent: zeroes are read then
    (measured with 16.2; tracker.ceph.com/issues/68998). With an invalid map it skips nothing.
    """
    with open_image(ioctx, ref, image_id=image_id) as image:
        # Before the map is marked invalid for a flatten that is not possible.
        refuse_obstacles(ref, image)
        has_map, header_id = bool(image.features() & rbd.RBD_FEATURE_OBJECT_MAP), image.id()
    if has_map:
        invalidate_object_map(ioctx, ref, header_id)
    return has_map


def rebuild_object_map(cluster: Cluster, ref: ImageRef, image_id: str) -> None:
    """Look for each object of the image, or of its snapshot, and record which exist.

    Raises ImageBusyError while another client has it open, ClusterError, UnavailableError.
    """

    def look() -> None:
        with cluster.ioctx(ref) as ioctx, open_image(ioctx, ref, read_only=True) as image:
            require_id(ref.image, image, image_id)
            refuse_watched(cluster, ref.image, image)

    def rebuild(ioctx: Any) -> None:
        with open_image(ioctx, ref) as image:
            if ref.snapshot:
                image.set_snap(as_bytes(ref.snapshot))
            image.rebuild_object_map()

    what = f"rebuilding the object map of {ref}"
    cluster.call(what, look)
    _run(cluster, what, ref, rebuild, writes=True)


def roll_back_image(cluster: Cluster, ref: ImageRef) -> None:
    """Roll the image back to its snapshot. Interrupted, it is a mix of both: run it again.

    Raises ClusterError, UnavailableError.
    """

    def roll_back(ioctx: Any) -> None:
        with open_image(ioctx, ref) as image, naming_obstacles(ref, image):
            # A seed's digest belongs to the content that is replaced now.
            remove_metadata(ioctx, image, SEED)
            image.rollback_to_snap(as_bytes(ref.snapshot))

    _run(cluster, f"rolling back to {ref}", ref, roll_back, writes=True)


def remove_half(cluster: Cluster, ref: ImageRef, image_id: str) -> None:
    """Remove an image whose making was interrupted, and its base snapshot; the id makes sure that it is the same
    image. Raises ImageBusyError, DeniedError."""

    def look() -> tuple[tuple[Watcher, ...], bool]:
        with cluster.ioctx(ref) as ioctx, open_image(ioctx, ref, read_only=True) as image:
            require_id(ref, image, image_id)
            _refuse_closed(cluster, ref, image)
            return foreign_watchers(cluster, image), bool(snapshots_of(ioctx, image))

    what = f"removing half image {ref}"
    watchers, has_snapshots = cluster.call(what, look)

    def remove(ioctx: Any) -> None:
        try:
            if has_snapshots:
                if watchers:
                    raise busy_error(ref, watchers)
                _remove_snapshots(ioctx, ref)
            rbd.RBD().remove(ioctx, as_bytes(ref.name))
        except rbd.ImageBusy:
            raise busy_error(ref, watchers) from None

    _run(cluster, what, ref, remove, writes=False)


def _refuse_closed(cluster: Cluster, ref: ImageRef, image: Any) -> None:
    if image.features() & rbd.RBD_FEATURE_DATA_POOL:
        refuse_closed(cluster, ref, cluster.name_of_pool(image.data_pool_id()))


def _remove_snapshots(ioctx: Any, ref: ImageRef) -> None:
    with open_image(ioctx, ref) as image:
        # Snapshots that an interrupted removal moved to the trash are removed with the image.
        for snapshot in user_snapshots_of(ioctx, image):
            name = as_bytes(snapshot["name"])
            if image.is_protected_snap(name):
                image.unprotect_snap(name)
            image.remove_snap(name)


def remove_trashed(cluster: Cluster, entry: "TrashEntry", progress: Steps) -> None:
    """Remove an image from the trash for good; interrupted, it stays there. Raises ClusterError, DeniedError,
    UnavailableError."""

    def remove(ioctx: Any) -> None:
        refuse_unsettled(ioctx, entry.ref, entry.image_id)
        # librbd may be able to remove an image that can't be opened.
        with (
            suppress(rbd.Error, ClusterError),
            open_image(ioctx, entry.ref, image_id=entry.image_id, read_only=True) as image,
        ):
            _refuse_closed(cluster, entry.ref, image)
        # By force: librbd refuses before its delay is over, which the caller has checked.
        rbd.RBD().trash_remove(ioctx, entry.image_id, force=True, on_progress=_callback(progress))

    _run(cluster, f"removing image {entry.ref} from the trash", entry.ref, remove, writes=False)


def _callback(progress: Steps) -> Callable[[int, int], int]:
    """Return the progress for the bindings: they take its result for an error number."""

    def call(done: int, total: int) -> int:
        progress(done, total)
        return 0

    return call


def _run(cluster: Cluster, what: str, ref: ImageRef, use: Callable[[Any], None], *, writes: bool) -> None:
    with Cluster.connect(cluster.settings, op_timeouts=False) as patient, translated(what, cluster.settings):

        def run() -> None:
            with patient.ioctx(ref) as ioctx:
                if not writes:
                    # A full pool accepts only removals with this flag; everything else would wait for ever.
                    ioctx.set_osdmap_full_try()
                use(ioctx)

        begin(what)
        call_watched(_LOOK_EVERY_S, f"Ceph: {what}", run, _watch(cluster, what, ref, writes=writes))


def _watch(cluster: Cluster, what: str, ref: ImageRef, *, writes: bool) -> Callable[[], None]:
    """Return a watch that gives up once Ceph has not answered for as long as a transfer may stall.

    librbd does not report a rollback's progress, so the watch checks that the pool answers.
    """
    stall_s = cluster.settings.timeouts.transfer
    pools = _pools_of(cluster, ref) if writes else ()
    refuse_full(cluster, *pools)
    answered_at = time.monotonic()

    def watch() -> None:
        nonlocal answered_at
        try:
            refuse_full(cluster, *pools)
            read_image(cluster, ref.image)
        except UnavailableError as error:
            if time.monotonic() > answered_at + stall_s:
                raise UnavailableError(f"{what}: Ceph has not answered for {stall_s:g} s; run it again") from error
        else:
            answered_at = time.monotonic()

    return watch


def _pools_of(cluster: Cluster, ref: ImageRef) -> tuple[str, ...]:
    """Return the pools that the image's objects are in: its own, and one for the data of some."""

    def read() -> tuple[str, ...]:
        try:
            with cluster.ioctx(ref) as ioctx, open_image(ioctx, ref, read_only=True) as image:
                if image.features() & rbd.RBD_FEATURE_DATA_POOL:
                    return ref.pool, cluster.name_of_pool(image.data_pool_id())
        except rbd.ImageNotFound:
            # In the trash it has no name.
            pass
        return (ref.pool,)

    return cluster.call(f"reading the pools of {ref}", read)
