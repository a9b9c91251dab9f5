"""The repair of an image: what an interruption left or what is wrong with it, and the steps that mend that. Pure."""

from collections.abc import Iterator

from msgspec import Struct

from virtrbd.model.hazard import Hazard
from virtrbd.model.image import Image, ImageRef, Intent, Watcher
from virtrbd.model.image_parts import ImageParts, ImageTroubles, TrashState
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
from virtrbd.model.size import counted
from virtrbd.planning.image_shape import Shape, shape_of
from virtrbd.planning.interrupted import ImageOrigin, is_unclear
from virtrbd.planning.objections import Objection
from virtrbd.planning.unready import ready_again
from virtrbd.printable import cut, quoted, shell_command

_CUT_OFF = "an earlier run of this host was interrupted while it made it"


def is_perhaps_under_way(plan: "RepairPlan") -> bool:
    """Whether another client may be making, moving or renaming the image at this moment."""
    return any(
        isinstance(step, RemoveRemains | DropIdObject | ListImage | SettleTrash | DropTrashEntry) for step in plan.steps
    )


class RepairPlan(Struct, frozen=True, kw_only=True):
    """What is wrong, in sentences, and the steps that mend it.

    `problem`: what no step of virtrbd mends, and the way out. `open_by`: the clients that have the image open, and so
    prevent the repair; `objections`: its other owners.
    """

    subject: ImageRef
    found: tuple[str, ...] = ()
    steps: tuple[AnyRepair, ...] = ()
    problem: str = ""
    open_by: tuple[Watcher, ...] = ()
    objections: tuple[Objection, ...] = ()

    def missing_hazards(self, allowed: frozenset[Hazard]) -> tuple[Hazard, ...]:
        """Return its hazards that are not allowed, each once."""
        wanted = {hazard for step in self.steps for hazard in step.hazards}
        wanted |= {each.hazard for each in self.objections if each.hazard}
        return tuple(sorted(wanted - allowed))


def plan_name(parts: ImageParts) -> RepairPlan:
    """Return the steps that make the name lead to the whole image, or remove it where there is no image."""
    shape = shape_of(parts)
    match shape:
        case Shape.WHOLE | Shape.ABSENT:
            return RepairPlan(subject=parts.ref)
        case Shape.UNCLEAR:
            found = "its id object does not name an image" if parts.id_object == "" else shape.value
            return RepairPlan(subject=parts.ref, found=(found,), problem=_unclear(parts))
    found = f"{shape.value} (id {parts.image_id})"
    if parts.data_objects:
        found += f"; {counted(parts.data_objects, 'object')} of its data left, and its size is lost"
    return RepairPlan(subject=parts.ref, found=(found,), steps=tuple(_naming_steps(shape, parts)))


def plan_stuck(parts: ImageParts) -> RepairPlan:
    """Return the steps for images of that name that are stuck in the trash, so that they can be restored or removed."""
    ref, stuck = parts.ref, sorted(parts.stuck.items())
    return RepairPlan(
        subject=ref,
        found=tuple(f"it is in the trash, on its way there or out of it (id {image_id})" for image_id, _ in stuck),
        steps=tuple(SettleTrash(ref=ref, image_id=image_id, state=state) for image_id, state in stuck),
    )


def _naming_steps(shape: Shape, parts: ImageParts) -> Iterator[AnyRepair]:
    ref, image_id = parts.ref, parts.image_id
    match shape:
        case Shape.REMAINS:
            hazards = (Hazard.LOSES_DATA,) if parts.data_objects else ()
            yield RemoveRemains(ref=ref, image_id=image_id, data_objects=parts.data_objects, hazards=hazards)
        case Shape.NO_ID:
            yield WriteIdObject(ref=ref, image_id=image_id)
        case Shape.RENAMED:
            yield DropIdObject(ref=ref, image_id=image_id)
        case Shape.UNLISTED:
            if parts.listed_name:
                yield UnlistImage(ref=replace(ref, name=parts.listed_name), image_id=image_id)
            yield ListImage(ref=ref, image_id=image_id)
        case Shape.MOVING:
            yield UnlistImage(ref=ref, image_id=image_id)
            if parts.trash and parts.trash is not TrashState.NORMAL:
                yield SettleTrash(ref=ref, image_id=image_id, state=parts.trash)
        case Shape.RESTORING:
            # In either case the image is whole under its name: it can be moved to the trash again.
            if not parts.listed_id:
                yield ListImage(ref=ref, image_id=image_id)
            yield DropTrashEntry(ref=ref, image_id=image_id)
        case Shape.ORPHANED:
            hazards = (Hazard.LOSES_DATA,)
            yield ForgetParent(ref=ref, image_id=image_id, parent=parts.lost_parent, hazards=hazards)


def _unclear(parts: ImageParts) -> str:
    pool = shell_command("rados --pool", parts.ref.pool)
    space = f" {shell_command('--namespace', parts.ref.namespace)}" if parts.ref.namespace else ""
    look = f"{pool}{space} {shell_command('get', f'rbd_id.{parts.ref.name}', '-')}"
    return (
        f"its id object says {quoted(parts.id_object or '')}, the list of its pool {quoted(parts.listed_id)}; look at "
        f"both with `{look}` and `{shell_command('rbd ls -l', parts.ref.pool_spec)}`"
    )


def plan_troubles(image: Image, troubles: ImageTroubles) -> RepairPlan:
    """Return the steps that mend an image that opens."""
    found, steps = [], []

    def add(sentence: str, step: AnyRepair) -> None:
        found.append(sentence)
        steps.append(step)

    ref, image_id = image.ref, image.image_id
    open_to = {f"client.{watcher.client_id}" for watcher in image.watchers}
    for lock in (each for each in troubles.locks if each.client not in open_to):
        what = "its exclusive lock" if lock.is_exclusive else f"the lock {quoted(lock.cookie)} on it"
        text = f"{lock.client} at {lock.address} holds {what}, and does not have it open"
        # A client that hangs loses its watch and may come back; an advisory lock may have a holder without a watch.
        add(text, BreakLock(ref=ref, image_id=image_id, lock=lock, hazards=(Hazard.TAKES_OVER,)))
    for snapshot in troubles.bad_maps:
        of = replace(ref, snapshot=snapshot)
        add(f"the object map of {of} is not valid", RebuildObjectMap(ref=of, image_id=image_id))
    for clone in troubles.lost_clones:
        add(f"it lists the clone {clone}, which is gone", ForgetClone(ref=ref, image_id=image_id, clone=clone))
    if parent := troubles.unlisted_in:
        text = f"{parent} does not list it as its clone, and could be removed although the clone needs it"
        add(text, NoteClone(ref=ref, image_id=image_id, parent=parent))
    return RepairPlan(
        subject=ref,
        found=(*found, *(each.text for each in troubles.obstacles)),
        steps=tuple(steps),
        problem="; ".join(each.way_out for each in troubles.obstacles),
    )


def plan_half_made(parts: ImageParts) -> RepairPlan:
    """Return the steps that remove an image which an interrupted run of this host began to make, by its intent and
    its id."""
    found = f"{_CUT_OFF}: it has no header yet (id {parts.image_id})"
    return RepairPlan(subject=parts.ref, found=(found,), steps=(RemoveHalf(ref=parts.ref, image_id=parts.image_id),))


def plan_intent(ref: ImageRef, image: Image | None, intent: Intent | None, origin: ImageOrigin | None) -> RepairPlan:
    """Return the steps that end an intent which a run of this host left, and the report on an image that is not ready.

    `origin` is what the image is to the intent.
    """
    if intent is None:
        if image is None or not image.state:
            return RepairPlan(subject=ref)
        return RepairPlan(subject=ref, found=(f"it is not ready: {cut(str(image.state))}",), problem=ready_again(image))
    found = f"{_CUT_OFF}, and left its intent"
    if image and is_unclear(image, intent):
        # Without its intent it would look like a whole image.
        text = f"{found}; without fast-diff it is unknown whether it is whole"
        way_out = f"{shell_command('virtrbd image remove', ref)}, then import it again"
        return RepairPlan(subject=ref, found=(text,), problem=way_out)
    image_id = image.image_id if image else ""
    match origin:
        case ImageOrigin.HALF:
            return RepairPlan(
                subject=ref, found=(f"{found}; it is half-made",), steps=(RemoveHalf(ref=ref, image_id=image_id),)
            )
        case ImageOrigin.MADE:
            finish = FinishMaking(ref=ref, image_id=image_id, domain_uuid=intent.domain_uuid)
            return RepairPlan(subject=ref, found=(f"{found}; it is whole",), steps=(finish,))
    other = "; this is another image" if image else "; there is no such image"
    return RepairPlan(subject=ref, found=(found + other,), steps=(ForgetIntent(ref=ref, image_id=image_id),))


def joined(*plans: RepairPlan) -> RepairPlan:
    """Return the plans about one image as one."""
    return RepairPlan(
        subject=plans[0].subject,
        found=tuple(text for plan in plans for text in plan.found),
        steps=tuple(step for plan in plans for step in plan.steps),
        problem="; ".join(plan.problem for plan in plans if plan.problem),
    )
