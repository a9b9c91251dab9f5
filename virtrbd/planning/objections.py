"""Objections to changing an image that is in use. librbd itself allows most of it."""

from collections.abc import Sequence

from msgspec import Struct

from virtrbd.model.hazard import Hazard
from virtrbd.model.image import Image, ImageRef, Obstacle
from virtrbd.model.image_details import Child
from virtrbd.model.image_use import DomainUse, ImageUse, Role
from virtrbd.model.power import PowerState
from virtrbd.model.record import replace
from virtrbd.planning.unready import ready_again
from virtrbd.printable import shell_command


class Objection(Struct, frozen=True, kw_only=True):
    """One reason against a change, and the way out; where it has a hazard, allowing that is another.

    Without a way out, the steps of a removal clear it. An objection that `lingers` may be what a crash left, and
    disappear by itself.
    """

    text: str
    way_out: str = ""
    hazard: Hazard | None = None
    lingers: bool = False

    def __str__(self) -> str:
        ways = [self.way_out] if self.way_out else []
        if self.hazard:
            ways.append(f"--allow {self.hazard}")
        return f"{self.text}; {', or '.join(ways) or 'the steps below clear it: --clear'}"

    @property
    def is_cleared_by_steps(self) -> bool:
        """Whether `--clear` suffices."""
        return not self.way_out and self.hazard is None

    @property
    def is_for_a_flag(self) -> bool:
        """Whether it only needs a flag; no flag of virtrbd clears the other objections."""
        return self.is_cleared_by_steps or self.hazard is not None


def objections(image: Image, uses: Sequence[DomainUse] | None, host_uuid: str) -> tuple[Objection, ...]:
    """Return the objections to changing the image as a whole: who has it open, holds a save of it, or owns it.

    `uses` None: libvirt did not answer. A domain that has the image as its disk and is shut off does not object.
    """
    return (*_in_use(image, uses), *base_objections(image.ref, uses), *_of_others(image, uses, host_uuid))


def base_objections(ref: ImageRef, uses: Sequence[DomainUse] | None) -> tuple[Objection, ...]:
    """Return the overlays that are built on the image: libvirt's external snapshots break when their base changes."""
    return tuple(
        Objection(
            text=f"domain {use.name} has it as the {how}, and the overlay needs it unchanged",
            way_out=f"merge the two with virsh blockpull or virsh blockcommit of {use.name}",
        )
        for use in uses or ()
        for how in use.of(ref.image)
        if how.role is Role.BASE
    )


def snapshot_objections(snapshot: ImageRef, uses: Sequence[DomainUse] | None) -> tuple[Objection, ...]:
    """Return the domains that have the snapshot itself as a disk: without it they can't start again."""
    return tuple(
        Objection(
            text=f"domain {use.name}, {use.state.value}, has {snapshot} as {how}",
            way_out=f"take it out of {use.name}, its running guest and its managed save included",
        )
        for use in uses or ()
        for how in use.of(snapshot)
    )


def unread_objections(ref: ImageRef, uses: Sequence[DomainUse] | None) -> tuple[Objection, ...]:
    """Return the unknown uses: domains with parts that cannot be read, or all where libvirt does not answer."""
    if uses is None:
        return (
            Objection(
                text="libvirt does not answer here, so which domains of this host use it is unknown",
                way_out="start libvirtd",
                hazard=Hazard.TAKES_OVER,
            ),
        )
    return tuple(
        Objection(
            text=f"domain {use.name} may use it: virtrbd cannot read {unread.what}",
            way_out=f"look at {shell_command('virsh dumpxml', use.name)}",
            hazard=Hazard.TAKES_OVER,
        )
        for use in uses
        for unread in use.unread
        if unread.may_name(ref)
    )


def _in_use(image: Image, uses: Sequence[DomainUse] | None) -> list[Objection]:
    mine = [use for use in uses or () if use.uses(image.ref)]
    running = [use for use in mine if use.state.is_active]
    found = [
        Objection(
            text=f"domain {use.name} is {use.state.value} with it ({_how(use, image.ref)})",
            way_out=shell_command("virtrbd shutdown", use.name),
        )
        for use in running
    ]
    found += [
        Objection(
            text=f"domain {use.name} holds a managed save, whose memory needs the image unchanged",
            way_out=f"resume it with {shell_command('virtrbd start', use.name)}, or drop it with "
            f"{shell_command('virsh managedsave-remove', use.name)}",
        )
        for use in mine
        if use.state is PowerState.SAVED
    ]
    # The guest's own QEMU is a watcher too, but it opens a snapshot, or an image below an overlay, read-only.
    if len(image.watchers) > sum(use.writes(image.ref) for use in running):
        who = ", ".join(map(str, image.watchers))
        found.append(Objection(text=f"it is open by {who}", way_out="stop that client", lingers=True))
    return [*found, *map(obstacle_objection, image.obstacles)]


def obstacle_objection(obstacle: Obstacle) -> Objection:
    """Return RBD's own obstacle to writing as an objection; only RBD's tools remove it."""
    return Objection(text=obstacle.text, way_out=obstacle.way_out)


def _how(use: DomainUse, ref: ImageRef) -> str:
    return ", ".join(str(how) if how.ref == ref.image else f"{how}, {how.ref}" for how in use.of(ref.image))


def _of_others(image: Image, uses: Sequence[DomainUse] | None, host_uuid: str) -> list[Objection]:
    found = []
    if image.running_on not in ("", host_uuid):
        found.append(
            Objection(
                text=f"it was last started on host {image.running_on_label}, which did not record a stop",
                way_out="shut it down there with virtrbd, and resume or drop a managed save first",
                hazard=Hazard.TAKES_OVER,
            )
        )
    found += owner_objections(image, host_uuid)
    owner = image.mark.domain_uuid if image.mark else ""
    found += [
        Objection(
            text=f"it belongs to domain {owner}, and domain {use.name} uses it",
            way_out=f"take it out of {use.name}",
            hazard=Hazard.TAKES_OVER,
        )
        for use in uses or ()
        if owner and use.uses(image.ref) and use.uuid != owner
    ]
    return [*found, *unread_objections(image.ref, uses)]


def owner_objections(image: Image | Child, host_uuid: str) -> tuple[Objection, ...]:
    """Return the objections to any change of the image: its mark names another host."""
    if image.mark is None or image.mark.host == host_uuid:
        return ()
    owner = f"domain {image.mark.domain_uuid} of " if image.mark.domain_uuid else ""
    text = f"it belongs to {owner}host {image.mark.host_label}"
    return (Objection(text=text, way_out="do it there", hazard=Hazard.TAKES_OVER),)


def clone_objections(clone: Child, parent: Image, host_uuid: str) -> tuple[Objection, ...]:
    """Return the objections to flattening a clone that the operator did not name: another owner, or it is not whole."""
    found = list(owner_objections(clone, host_uuid))
    mark, owner = clone.mark, parent.mark.domain_uuid if parent.mark else ""
    # In the trash it has no name that a verb could use.
    way_out = shell_command(f"virtrbd image restore --id {clone.image_id}", clone.ref) if clone.in_trash else ""
    if not found and mark and mark.domain_uuid not in ("", owner):
        by_name = way_out or shell_command("virtrbd image flatten", clone.ref)
        found.append(
            Objection(text=f"it belongs to domain {mark.domain_uuid}", way_out=by_name, hazard=Hazard.TAKES_OVER)
        )
    if clone.state:
        again = f"{way_out}, then: {ready_again(clone)}" if way_out else ready_again(clone)
        found.append(Objection(text=f"it is not ready: {clone.state}", way_out=again))
    return tuple(replace(each, text=f"clone {clone}: {each.text}") for each in found)


def growth_objections(
    image: Image, uses: Sequence[DomainUse] | None, host_uuid: str
) -> tuple[DomainUse | None, tuple[Objection, ...]]:
    """Return the domain of this host whose guest must see the growth, if one runs, and the objections to growing."""
    # A snapshot does not change when its image grows.
    others = [replace(use, images=_without_snapshots(use)) for use in uses] if uses is not None else None
    running = [use for use in others or () if use.uses(image.ref) and use.state.is_active]
    if len(running) != 1 or len(image.watchers) > 1 or not running[0].disk_of(image.ref):
        return None, objections(image, others, host_uuid)
    below = base_objections(image.ref, others)
    held = map(obstacle_objection, image.obstacles)
    return running[0], (*below, *held, *_of_others(image, others, host_uuid))


def _without_snapshots(use: DomainUse) -> tuple[ImageUse, ...]:
    return tuple(how for how in use.images if not how.ref.snapshot)
