"""The removal of an image or a snapshot: what keeps it, and the steps that would clear that, in order. Pure."""

from collections.abc import Iterator, Sequence
from typing import assert_never

from msgspec import Struct

from virtrbd.model.hazard import Hazard
from virtrbd.model.image import Image, ImageRef
from virtrbd.model.image_details import ImageDetails, Snapshot, SnapshotKind
from virtrbd.model.image_use import DomainUse, Role
from virtrbd.model.record import replace
from virtrbd.model.removal_actions import (
    FlattenClone,
    RemovalAction,
    RemoveImage,
    RemoveSnapshot,
    TrashImage,
    UnprotectSnapshot,
)
from virtrbd.planning.objections import (
    Objection,
    clone_objections,
    objections,
    obstacle_objection,
    owner_objections,
    snapshot_objections,
    unread_objections,
)
from virtrbd.planning.unready import ready_again
from virtrbd.printable import shell_command


class RemovalPlan(Struct, frozen=True, kw_only=True):
    """What keeps an image or a snapshot, and the actions that remove it; each has the hazards of what is against it."""

    subject: ImageRef
    blockers: tuple[Objection, ...] = ()
    steps: tuple[RemovalAction, ...] = ()

    def standing(self, *, clear: bool, allowed: frozenset[Hazard]) -> tuple[Objection, ...]:
        """Return the blockers that are left when one clears, or not, and allows these hazards."""
        return tuple(
            blocker
            for blocker in self.blockers
            if not (clear and blocker.is_cleared_by_steps) and not (blocker.hazard and blocker.hazard in allowed)
        )

    def without_lingering(self) -> "RemovalPlan":
        """Return the plan without blockers that may disappear by themselves."""
        return replace(self, blockers=tuple(blocker for blocker in self.blockers if not blocker.lingers))


def plan_removal(
    details: ImageDetails, uses: Sequence[DomainUse] | None, host_uuid: str, *, delay_s: float | None
) -> RemovalPlan:
    """Return the removal of the image: to the trash for `delay_s` seconds, or, with None, for good.

    Its snapshots move to the trash with it; clones still keep it here: an image with clones is in use.
    """
    image = details.image
    blockers = [*objections(image, uses, host_uuid)]
    blockers += _named_by(details, uses)
    blockers += _foreign_snapshots(details)
    if details.mirroring:
        blockers.append(Objection(text="it is mirrored", way_out=shell_command("rbd mirror image disable", image.ref)))
    if details.group:
        way_out = shell_command("rbd group image remove", details.group, image.ref)
        blockers.append(Objection(text=f"it is in group {details.group}", way_out=way_out))
    lost = [Objection(text="it can't be restored", way_out="leave out --now", hazard=Hazard.LOSES_DATA)]
    lost = lost if delay_s is None else []
    hazards = _hazards_of(*blockers, *lost)
    steps: list[RemovalAction] = []
    for snapshot in details.snapshots:
        blockers += _clones_blockers(snapshot, image, host_uuid)
        if delay_s is None and snapshot.kind is SnapshotKind.USER:
            protected = ", protected" if snapshot.protected else ""
            blockers.append(Objection(text=f"it has the user snapshot {snapshot.label}{protected}"))
        steps += _flattening(snapshot, image, host_uuid)
        steps += _removing(snapshot, image, hazards) if delay_s is None else ()
    if delay_s is None:
        steps.append(RemoveImage(ref=image.ref, image_id=image.image_id, hazards=hazards))
    else:
        steps.append(TrashImage(ref=image.ref, image_id=image.image_id, delay_s=delay_s, hazards=hazards))
    blockers += lost
    return RemovalPlan(subject=image.ref, blockers=tuple(blockers), steps=tuple(steps))


def plan_snapshot_removal(
    details: ImageDetails, name: str, uses: Sequence[DomainUse] | None, host_uuid: str
) -> RemovalPlan | None:
    """Return the removal of the snapshot, or None when there is no user snapshot of that name."""
    image = details.image
    found = [each for each in details.snapshots if each.kind is SnapshotKind.USER and each.name == name]
    found = found or [each for each in details.snapshots if each.label == name and _is_cut_off(each)]
    if not found:
        return None
    snapshot = found[0]
    subject = replace(image.ref, snapshot=name)
    blockers = _clones_blockers(snapshot, image, host_uuid)
    if snapshot.protected:
        blockers.append(Objection(text=f"snapshot {snapshot.label} is protected"))
    against = (
        *map(obstacle_objection, image.obstacles),
        *snapshot_objections(subject, uses),
        *unread_objections(image.ref, uses),
        *owner_objections(image, host_uuid),
    )
    blockers += against
    if image.state:
        blockers.append(Objection(text=f"the image is not ready: {image.state}", way_out=ready_again(image)))
    hazards = _hazards_of(*against)
    steps = [*_flattening(snapshot, image, host_uuid), *_removing(snapshot, image, hazards)]
    if _is_cut_off(snapshot):
        cut_off = snapshot.snapshot_id
        steps = [RemoveSnapshot(ref=subject, image_id=image.image_id, snapshot_id=cut_off, hazards=hazards)]
    return RemovalPlan(subject=subject, blockers=tuple(blockers), steps=tuple(steps))


def _is_cut_off(snapshot: Snapshot) -> bool:
    """Whether its removal was interrupted: librbd moves each to the trash first, where only clones keep it."""
    return snapshot.kind is SnapshotKind.TRASH and not snapshot.children


def plan_purge(details: ImageDetails, host_uuid: str, *, is_expired: bool) -> RemovalPlan:
    """Return the removal for good of an image in the trash: with its snapshots, unless clones still need them.

    The move there allowed its end, but not before its delay is over.
    """
    image = details.image
    blockers = _foreign_snapshots(details)
    if not is_expired:
        blockers.append(Objection(text="its delay is not over", way_out="wait for it", hazard=Hazard.LOSES_DATA))
        blockers += owner_objections(image, host_uuid)
    if image.watchers:
        who = ", ".join(map(str, image.watchers))
        blockers.append(Objection(text=f"it is open by {who}", way_out="stop that client", lingers=True))
    hazards = _hazards_of(*blockers)
    steps: list[RemovalAction] = []
    for snapshot in details.snapshots:
        blockers += _clones_blockers(snapshot, image, host_uuid)
        steps += _flattening(snapshot, image, host_uuid)
        steps += _removing(snapshot, image, hazards)
    steps.append(RemoveImage(ref=image.ref, image_id=image.image_id, is_in_trash=True, hazards=hazards))
    return RemovalPlan(subject=image.ref, blockers=tuple(blockers), steps=tuple(steps))


def _hazards_of(*found: Objection) -> tuple[Hazard, ...]:
    """Return the hazards that a step has to be allowed, each once: those of the objections to it."""
    return tuple(sorted({each.hazard for each in found if each.hazard}))


def _named_by(details: ImageDetails, uses: Sequence[DomainUse] | None) -> list[Objection]:
    """A domain that is shut off needs its disks as much as one that runs."""
    return [
        Objection(
            text=f"domain {use.name} has {'it' if how.ref == details.image.ref else how.ref} as {how}",
            way_out=f"{shell_command('virtrbd undefine', use.name)}, or take the disk out of its spec",
        )
        for use in uses or ()
        for how in use.of(details.image.ref)
        if not use.state.is_active and how.role is not Role.BASE
    ]


def _foreign_snapshots(details: ImageDetails) -> list[Objection]:
    ref = details.image.ref
    return [
        Objection(text=f"it has the {each.kind} snapshot {each.label}", way_out=way_out_of(each, ref))
        for each in details.snapshots
        if each.kind not in (SnapshotKind.USER, SnapshotKind.TRASH)
    ]


def way_out_of(snapshot: Snapshot, ref: ImageRef) -> str:
    """Return how the snapshot is removed where `image snapshot remove` cannot do it, else ""."""
    match snapshot.kind:
        case SnapshotKind.USER:
            return ""
        case SnapshotKind.TRASH:
            return "the end of the last of its clones"
        case SnapshotKind.GROUP:
            return shell_command("rbd group snap remove", snapshot.label)
        case SnapshotKind.MIRROR:
            return shell_command("rbd mirror image disable", ref)
        case SnapshotKind.UNKNOWN:
            return shell_command("rbd snap ls --all", ref)
        case _:
            assert_never(snapshot.kind)


def _clones_blockers(snapshot: Snapshot, image: Image, host_uuid: str) -> list[Objection]:
    if not snapshot.children:
        return []
    clones = ", ".join(map(str, snapshot.children))
    where = " (removed, and kept for them in the trash)" if snapshot.kind is SnapshotKind.TRASH else ""
    # A flatten changes each clone, and the operator named only this image.
    against = [each for child in snapshot.children for each in clone_objections(child, image, host_uuid)]
    return [Objection(text=f"snapshot {snapshot.label}{where} has clones: {clones}"), *against]


def _flattening(snapshot: Snapshot, image: Image, host_uuid: str) -> Iterator[RemovalAction]:
    for child in snapshot.children:
        hazards = _hazards_of(*clone_objections(child, image, host_uuid))
        yield FlattenClone(child=child, parent=image.ref, hazards=hazards)


def _removing(snapshot: Snapshot, image: Image, hazards: tuple[Hazard, ...]) -> Iterator[RemovalAction]:
    # A snapshot in the trash disappears with its last clone.
    if snapshot.kind is not SnapshotKind.USER:
        return
    ref = replace(image.ref, snapshot=snapshot.name)
    if snapshot.protected:
        yield UnprotectSnapshot(ref=ref, image_id=image.image_id, hazards=hazards)
    yield RemoveSnapshot(ref=ref, image_id=image.image_id, hazards=hazards)
