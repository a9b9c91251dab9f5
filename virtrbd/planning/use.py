"""What stands against changing an image under whoever uses it. librbd itself lets most of it through."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import unescape

from virtrbd.model.domain import PowerState
from virtrbd.model.hazard import Hazard
from virtrbd.model.image import Image, ImageRef
from virtrbd.model.image_details import Child
from virtrbd.printable import shell_command


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainUse:
    """A domain of this host with every image that its definition or its live XML names.

    `unread`: why neither could be read, empty where they were. Then `text` is the XML as libvirt gave it, None where
    it gave none.
    """

    name: str
    uuid: str
    state: PowerState
    refs: frozenset[ImageRef] = frozenset()
    unread: str = ""
    text: str | None = None

    def uses(self, ref: ImageRef) -> bool:
        """Whether it names the image, or a snapshot of it."""
        return any(mine.image == ref.image for mine in self.refs)

    def may_use(self, ref: ImageRef) -> bool:
        """Whether it cannot be read and may name the image: what cannot be read counts as use."""
        return bool(self.unread) and (self.text is None or ref.name in self.text or ref.name in unescape(self.text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Objection:
    """One reason not to, and the way out; where a hazard is named, allowing that is one.

    What `lingers` may be the remains of a crash, and go by itself.
    """

    text: str
    way_out: str
    hazard: Hazard | None = None
    lingers: bool = False

    def __str__(self) -> str:
        flag = f", or --allow {self.hazard}" if self.hazard else ""
        return f"{self.text}; {self.way_out}{flag}"


def objections(image: Image, uses: Sequence[DomainUse] | None, host_uuid: str) -> tuple[Objection, ...]:
    """Return what stands against changing the image as a whole: who has it open, holds it saved, or owns it.

    `uses` None: nobody could ask libvirt. Whether a domain merely names the image, shut off, is no objection.
    """
    return (*_in_use(image, uses), *_of_others(image, uses, host_uuid))


def _in_use(image: Image, uses: Sequence[DomainUse] | None) -> list[Objection]:
    mine = [use for use in uses or () if use.uses(image.ref)]
    running = [use for use in mine if use.state.is_active]
    found = [
        Objection(
            text=f"domain {use.name} is {use.state.value} with it", way_out=shell_command("virtrbd shutdown", use.name)
        )
        for use in running
    ]
    found += [
        Objection(
            text=f"domain {use.name} holds a managed save, whose memory belongs to the image as it is",
            way_out=f"resume it with {shell_command('virtrbd start', use.name)}, or drop it with "
            f"{shell_command('virsh managedsave-remove', use.name)}",
        )
        for use in mine
        if use.state is PowerState.SAVED
    ]
    found += [
        Objection(
            text=f"domain {use.name} may use it: it cannot be read ({use.unread})",
            way_out=f"mend {use.name}",
            hazard=Hazard.TAKES_OVER,
        )
        for use in uses or ()
        if use.may_use(image.ref)
    ]
    # A watcher is the domain's own QEMU where one runs here.
    if len(image.watchers) > len(running):
        who = ", ".join(map(str, image.watchers))
        found.append(Objection(text=f"it is open by {who}", way_out="stop that client", lingers=True))
    return found


def _of_others(image: Image, uses: Sequence[DomainUse] | None, host_uuid: str) -> list[Objection]:
    found = []
    if image.running_on not in ("", host_uuid):
        found.append(
            Objection(
                text=f"it was last started on host {image.running_on_told}, which never said that it stopped",
                way_out="shut it down there with virtrbd",
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
    if uses is None:
        found.append(
            Objection(
                text="libvirt does not answer here, so whether a domain of this host holds it in a managed save "
                "is unknown",
                way_out="start libvirtd",
                hazard=Hazard.TAKES_OVER,
            )
        )
    return found


def owner_objections(image: Image | Child, host_uuid: str) -> tuple[Objection, ...]:
    """Return what stands against touching the image at all: its mark names another host."""
    if image.mark is None or image.mark.host == host_uuid:
        return ()
    owner = f"domain {image.mark.domain_uuid} of " if image.mark.domain_uuid else ""
    text = f"it belongs to {owner}host {image.mark.host_told}"
    return (Objection(text=text, way_out="do it there", hazard=Hazard.TAKES_OVER),)


def clone_objections(clone: Child, parent: Image, host_uuid: str) -> tuple[Objection, ...]:
    """Return what stands against flattening a clone that nobody named: it is not its parent's owner's, or not whole."""
    found = list(owner_objections(clone, host_uuid))
    mark, owner = clone.mark, parent.mark.domain_uuid if parent.mark else ""
    # In the trash it has no name by which a verb could take it.
    way_out = shell_command(f"virtrbd image restore --id {clone.image_id}", clone.ref) if clone.in_trash else ""
    if not found and mark and mark.domain_uuid not in ("", owner):
        by_name = way_out or shell_command("virtrbd image flatten", clone.ref)
        found.append(
            Objection(text=f"it belongs to domain {mark.domain_uuid}", way_out=by_name, hazard=Hazard.TAKES_OVER)
        )
    if clone.state:
        again = f"{way_out}, and run that again" if way_out else "let that end, or run it again"
        found.append(Objection(text=f"it is not ready: {clone.state}", way_out=again))
    return tuple(replace(each, text=f"clone {clone}: {each.text}") for each in found)


def growth_objections(
    image: Image, uses: Sequence[DomainUse] | None, host_uuid: str
) -> tuple[DomainUse | None, tuple[Objection, ...]]:
    """Return the domain of this host whose guest is to be told, if one runs, and what stands against growing."""
    running = [use for use in uses or () if use.uses(image.ref) and use.state.is_active]
    if len(running) != 1 or len(image.watchers) > 1:
        return None, objections(image, uses, host_uuid)
    return running[0], tuple(_of_others(image, uses, host_uuid))
