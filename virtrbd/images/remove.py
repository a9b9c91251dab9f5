"""Remove an image, snapshot or clone: the steps of a removal, each by itself."""

from functools import partial

from virtrbd.ceph.long_calls import remove_trashed
from virtrbd.ceph.snapshots import remove_snapshot, unprotect_snapshot
from virtrbd.ceph.trash import list_trash, trash_image
from virtrbd.errors import ClusterError
from virtrbd.images.change import flatten
from virtrbd.images.image_host import ImageHost
from virtrbd.images.wait import once_free
from virtrbd.model.image import ImageRef
from virtrbd.planning.removal import (
    FlattenClone,
    MoveToTrash,
    RemoveImage,
    RemoveSnapshot,
    Step,
    UnprotectSnapshot,
)

# The delay of an image that is removed for good: only until the next step.
_NO_DELAY = 0.0


def perform_step(host: ImageHost, step: Step, subject: ImageRef) -> None:
    """Do one step of the removal of an image, whose lock the caller holds, or of its snapshot.

    Raises BusyError, ImageBusyError, ClusterError, UnavailableError.
    """
    wait_s = host.settings.timeouts.watcher
    match step:
        case FlattenClone():
            # An image in the trash may have the name of the removed image, and then its lock is held already.
            names = {str(step.child.ref)} - {str(subject.image)}
            with host.state.locked([*names], "image flatten"):
                flatten(host, step.child.ref, step.child.image_id)
        case UnprotectSnapshot():
            unprotect_snapshot(host.cluster, step.ref, step.image_id)
        case RemoveSnapshot():
            remove_snapshot(host.cluster, step.ref, step.image_id, step.snapshot_id)
        case MoveToTrash():
            trash = partial(trash_image, host.cluster, step.ref, step.image_id, step.delay_s)
            once_free(trash, wait_s=wait_s, say=host.say)
            # What an interrupted run recorded about it does not apply to the next image of that name.
            host.state.drop_intent(step.ref)
        case RemoveImage():
            _remove_for_good(host, step)


def _remove_for_good(host: ImageHost, step: RemoveImage) -> None:
    if not step.is_in_trash:
        trash = partial(trash_image, host.cluster, step.ref, step.image_id, _NO_DELAY)
        once_free(trash, wait_s=host.settings.timeouts.watcher, say=host.say)
        host.state.drop_intent(step.ref)
    in_trash = list_trash(host.cluster, step.ref.pool, step.ref.namespace)
    entry = next((each for each in in_trash if each.image_id == step.image_id), None)
    if entry is None:
        # An image that was restored meanwhile is not removed again.
        raise ClusterError(f"image {step.ref}: is no longer in the trash; another run restored or purged it")
    remove_trashed(host.cluster, entry, host.progress)
