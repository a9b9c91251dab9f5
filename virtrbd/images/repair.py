"""Repair an image: find what a crash left of it or what is wrong with it, and mend that."""

import time
from collections.abc import Callable
from typing import assert_never

from virtrbd.ceph import mending
from virtrbd.ceph.images import free_of_inherited, read_image
from virtrbd.ceph.long_calls import rebuild_object_map
from virtrbd.ceph.mending import complete_made, note_clone
from virtrbd.ceph.parts import read_by_id, read_parts, read_troubles
from virtrbd.ceph.trash import missing_image_error
from virtrbd.ceph.watchers import busy_error
from virtrbd.errors import BlockedError, ClusterError
from virtrbd.images.create import LOOK_AGAIN_AFTER_S, finish_made, remove_half_made, report_dropped
from virtrbd.images.host import Host
from virtrbd.images.wait import once_free
from virtrbd.model.image import Image, ImageRef, Intent
from virtrbd.model.record import replace
from virtrbd.model.repair_actions import (
    AnyRepair,
    BreakLock,
    DropIdObject,
    DropTrashEntry,
    FinishMaking,
    ForgetClone,
    ForgetIntent,
    ForgetParent,
    ListImage,
    NoteClone,
    RebuildObjectMap,
    RemoveHalf,
    RemoveRemains,
    SettleTrash,
    UnlistImage,
    WriteIdObject,
)
from virtrbd.planning.image_shape import Shape, shape_of
from virtrbd.planning.interrupted import is_half_made, origin_of
from virtrbd.planning.objections import owner_objections
from virtrbd.planning.repair import (
    RepairPlan,
    is_perhaps_under_way,
    joined,
    plan_half_made,
    plan_intent,
    plan_name,
    plan_stuck,
    plan_troubles,
)


def find_repair(host: Host, ref: ImageRef) -> RepairPlan:
    """Return the flaws of the image, and the steps that mend them.

    Raises ClusterError where there is no such image, or it cannot be opened for a reason that no step mends.
    """
    plan = _find(host, ref)
    if plan is None:
        raise missing_image_error(host.cluster, ref)
    return plan


def find_rest(host: Host, ref: ImageRef) -> RepairPlan:
    """Return the flaws after the steps were done, which may have removed the image."""
    return _find(host, ref) or RepairPlan(subject=ref)


def _find(host: Host, ref: ImageRef) -> RepairPlan | None:
    parts = read_parts(host.cluster, ref, data=True)
    shape, intent = shape_of(parts), host.state.read_intent(ref)
    # A state that only its age explains is left alone for the same time.
    if intent and intent.made_id(parts.image_id) and is_half_made(parts, intent) and not parts.data_objects:
        return plan_half_made(parts)
    stuck = plan_stuck(parts)
    if shape is Shape.ABSENT:
        # An image of format 1 has other parts, and is refused with its own message.
        read_image(host.cluster, ref)
        if intent is None and not stuck.steps:
            return None
        return joined(stuck, plan_intent(ref, None, intent, None))
    if shape is not Shape.WHOLE:
        is_there = parts.image_id and shape is not Shape.REMAINS
        image = read_by_id(host.cluster, ref, parts.image_id) if is_there else None
        return _for_owner(host, joined(plan_name(parts), stuck), image)
    image = read_image(host.cluster, ref, usage=True)
    if image is None:
        return None
    troubles = plan_troubles(image, read_troubles(host.cluster, ref))
    return _for_owner(host, joined(troubles, stuck, _intent_plan(host, image, intent)), image)


def _for_owner(host: Host, plan: RepairPlan, image: Image | None) -> RepairPlan:
    """Return the plan with the objections to a change of the image."""
    if image is None or not plan.steps:
        return plan
    return replace(plan, open_by=image.watchers, objections=owner_objections(image, host.host_uuid))


def _intent_plan(host: Host, image: Image, intent: Intent | None) -> RepairPlan:
    domain_uuid = intent.domain_uuid if intent else ""
    origin = origin_of(image, intent, domain_uuid=domain_uuid, host_uuid=host.host_uuid)
    return plan_intent(image.ref, image, intent, origin)


def find_repair_once_free(host: Host, ref: ImageRef) -> RepairPlan:
    """Return the same, once no client has the image open. Raises ImageBusyError where one still has."""

    def look() -> RepairPlan:
        plan = find_repair(host, ref)
        if plan.steps and plan.open_by:
            raise busy_error(ref, plan.open_by)
        return plan

    return once_free(look, wait_s=host.settings.timeouts.watcher, say=host.say)


def require_settled(host: Host, plan: RepairPlan, least_age_s: float, look: Callable[[], RepairPlan]) -> None:
    """Raise where another client may be in the middle of making, moving or renaming the image.

    Work that began less than `least_age_s` ago is left alone, as far as the image's parts record its time; `look`
    finds the plan again: a change meanwhile means that a client is at work. Raises BlockedError, ClusterError.
    """
    if not is_perhaps_under_way(plan):
        return
    age_s = time.time() - read_parts(host.cluster, plan.subject).noted_at
    if age_s < least_age_s:
        raise BlockedError(
            f"image {plan.subject}: its name was written {max(age_s, 0):.0f} s ago, and its client may still be at "
            f"work; run again when it is {least_age_s:g} s old, or write --least-age 0s where no client is"
        )
    time.sleep(LOOK_AGAIN_AFTER_S)
    if look() != plan:
        raise ClusterError(f"image {plan.subject}: another client is at work on it; look again when it is done")


def perform_repair(action: AnyRepair, host: Host) -> None:
    """Do one step. Raises ImageBusyError, ClusterError, DeniedError, UnavailableError."""
    cluster, ref, image_id = host.cluster, action.ref, action.image_id
    match action:
        case RemoveRemains():
            mending.remove_remains(cluster, ref, image_id, data=bool(action.data_objects))
        case WriteIdObject():
            mending.write_id_object(cluster, ref, image_id)
        case DropIdObject():
            mending.drop_id_object(cluster, ref, image_id)
        case ListImage():
            mending.list_image(cluster, ref, image_id)
        case UnlistImage():
            mending.unlist_image(cluster, ref, image_id)
        case SettleTrash():
            mending.settle_trash(cluster, ref, image_id, action.state)
        case DropTrashEntry():
            mending.drop_trash_entry(cluster, ref, image_id)
        case RebuildObjectMap():
            rebuild_object_map(cluster, ref, image_id)
        case BreakLock():
            mending.break_lock(cluster, ref, image_id, action.lock)
        case ForgetClone():
            mending.forget_clone(cluster, ref, image_id, action.clone)
        case NoteClone():
            note_clone(cluster, ref, image_id)
        case ForgetParent():
            mending.forget_parent(cluster, ref, image_id)
        case FinishMaking():
            report_dropped(host, ref, free_of_inherited(cluster, ref))
            complete_made(cluster, ref, image_id)
            finish_made(host, ref, image_id, action.domain_uuid)
        case RemoveHalf():
            remove_half_made(host, ref, image_id)
        case ForgetIntent():
            host.state.drop_intent(ref)
        case _:
            assert_never(action)
