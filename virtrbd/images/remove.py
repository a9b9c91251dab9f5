"""Remove an image, snapshot or clone: the plan once no client that crashed prevents it, and its actions."""

from collections.abc import Callable
from functools import partial
from typing import assert_never

from virtrbd.ceph.long_calls import remove_trashed
from virtrbd.ceph.snapshots import remove_snapshot, unprotect_snapshot
from virtrbd.ceph.trash import list_trash, trash_image
from virtrbd.errors import ClusterError, ImageBusyError
from virtrbd.images.change import flatten
from virtrbd.images.host import Host
from virtrbd.images.wait import once_free
from virtrbd.model.hazard import Hazard
from virtrbd.model.removal_actions import (
    FlattenClone,
    RemovalAction,
    RemoveImage,
    RemoveSnapshot,
    TrashImage,
    UnprotectSnapshot,
)
from virtrbd.planning.removal import RemovalPlan

# The delay of an image that is removed for good: only until the next step.
_NO_DELAY = 0.0


def plan_once_free(
    host: Host, make_plan: Callable[[], RemovalPlan], allowed: frozenset[Hazard], *, clear: bool
) -> RemovalPlan:
    """Return the plan; while only clients that may have crashed prevent it, it is made again until they are gone."""

    def look() -> RemovalPlan:
        plan = make_plan()
        standing = plan.standing(clear=clear, allowed=allowed)
        if standing and all(blocker.lingers for blocker in standing):
            raise ImageBusyError(f"{plan.subject}: {'; '.join(each.text for each in standing)}", ())
        return plan

    try:
        return once_free(look, wait_s=host.settings.timeouts.watcher, say=host.say)
    except ImageBusyError:
        return make_plan()


def perform_removal(action: RemovalAction, host: Host) -> None:
    """Do one step of the removal of an image, whose lock the caller holds, or of its snapshot.

    Raises BusyError, ImageBusyError, ClusterError, UnavailableError.
    """
    match action:
        case FlattenClone():
            # An image in the trash may have the name of the removed image, and then its lock is held already.
            names = {str(action.child.ref)} - {str(action.parent)}
            with host.state.locked([*names], "image flatten"):
                flatten(host, action.child.ref, action.child.image_id)
        case UnprotectSnapshot():
            unprotect_snapshot(host.cluster, action.ref, action.image_id)
        case RemoveSnapshot():
            remove_snapshot(host.cluster, action.ref, action.image_id, action.snapshot_id)
        case TrashImage():
            _trash(host, action, action.delay_s)
            if action.retires:
                host.state.note_trashed(action.retires, action.ref)
        case RemoveImage():
            _remove_for_good(host, action)
        case _:
            assert_never(action)


def _trash(host: Host, action: TrashImage | RemoveImage, delay_s: float) -> None:
    trash = partial(trash_image, host.cluster, action.ref, action.image_id, delay_s)
    once_free(trash, wait_s=host.settings.timeouts.watcher, say=host.say)
    # What an interrupted run recorded about it does not apply to the next image of that name.
    host.state.drop_intent(action.ref)


def _remove_for_good(host: Host, action: RemoveImage) -> None:
    if not action.is_in_trash:
        _trash(host, action, _NO_DELAY)
    in_trash = list_trash(host.cluster, action.ref.pool, action.ref.namespace)
    entry = next((each for each in in_trash if each.image_id == action.image_id), None)
    if entry is None:
        # An image that was restored meanwhile is not removed again.
        raise ClusterError(f"image {action.ref}: is no longer in the trash; another run restored or purged it")
    remove_trashed(host.cluster, entry, host.progress)
