"""What a running guest needs: the live changes, and what waits for its next boot."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from msgspec import Struct

from virtrbd.domainxml.disk_sources import medium
from virtrbd.domainxml.document import Definition, Document, LiveDocument, Rendered
from virtrbd.domainxml.ignoring import is_ignored, pruned
from virtrbd.domainxml.image_uses import images_elsewhere
from virtrbd.domainxml.live import (
    LiveEdit,
    current_memory,
    current_vcpus,
    live_edit,
    live_limits,
    titles,
    wanted_link,
    wanted_memory,
    wanted_vcpus,
)
from virtrbd.domainxml.live_drift import live_only_devices, media_of_others, settings_of_others, words_of_others
from virtrbd.domainxml.own_devices import still_there
from virtrbd.domainxml.tree import device_steps
from virtrbd.model.actions import Action
from virtrbd.model.difference import Difference, Mend
from virtrbd.model.domain import Domain
from virtrbd.model.element_path import ElementPath
from virtrbd.model.hazard import Hazard
from virtrbd.model.image import ImageRef
from virtrbd.model.live_actions import (
    AttachDevice,
    ChangeMedia,
    DetachDevice,
    LimitDisk,
    MarkLive,
    SetLink,
    SetMemory,
    SetTitle,
    SetVcpus,
)
from virtrbd.model.mark import DomainMark
from virtrbd.model.plan import Finding, FindingKind
from virtrbd.model.record import replace
from virtrbd.model.size import format_size
from virtrbd.planning.world import World

_CURRENT_MEMORY = ElementPath("currentMemory")


class Guest(Struct, frozen=True, kw_only=True):
    """A domain that runs, with its three documents."""

    domain: Domain
    live: LiveDocument
    definition: Definition
    desired: Rendered


class LivePlan(Struct, frozen=True, kw_only=True):
    """The changes to a running guest, and what must wait: `waiting`, by path, until its next boot."""

    actions: tuple[Action, ...] = ()
    waiting: frozenset[ElementPath] = frozenset()
    findings: tuple[Finding, ...] = ()


def plan_live(guest: Guest, new_mark: DomainMark, actual: World, left_out: Sequence[ElementPath] = ()) -> LivePlan:
    """Return what brings the running guest into line, as far as that can be done while it runs."""
    guest = replace(guest, desired=pruned(guest.desired, new_mark.ignored))
    edit = live_edit(guest.live, guest.definition, guest.desired, new_mark, left_out)
    differences = edit.differences
    now = replace(edit, differences=tuple(each for each in differences if each.mend is Mend.LIVE))
    actions = list(_actions(guest, now, actual))
    # Also what an earlier run attached or set and was killed before it marked it: unmarked it would be others'.
    kept = still_there(guest.live, guest.definition, new_mark.stated)
    if actions or not set(kept) <= set(_live_stated(guest)):
        # The place that libvirt chose is seen later; the mark has the place of an earlier device.
        attached = {action.device: "" for action in actions if isinstance(action, AttachDevice)}
        actions.append(_mark(guest, new_mark, {**edit.places, **attached}))
    waiting = [each for each in differences if each.mend is not Mend.LIVE]
    pending = [*_pending(guest.domain, waiting), *_asked(guest, differences)]
    findings = [*pending, *_unclear(guest.domain, edit.unclear), *_foreign(guest, new_mark)]
    findings += _monitors(guest, actual)
    at_boot = {each.path for each in waiting if each.mend is Mend.NEXT_BOOT}
    unclear = map(ElementPath.of_device, edit.unclear)
    return LivePlan(actions=tuple(actions), waiting=frozenset({*at_boot, *unclear}), findings=tuple(findings))


def _unclear(domain: Domain, devices: Sequence[str]) -> Iterator[Finding]:
    for path in map(ElementPath.of_device, devices):
        text = (
            f"{path}: in the running guest others made a device with that key, or nothing says which "
            f"of several is virtrbd's; left alone until the guest has been shut down and started"
        )
        yield Finding(domain=domain.name, kind=FindingKind.PENDING, subject=str(path), text=text)


def _actions(guest: Guest, edit: LiveEdit, actual: World) -> Iterator[Action]:
    """Yield one action for each device with differences: controllers first, detaching last."""
    differences, places, uuid = edit.differences, edit.places, guest.domain.uuid
    ordered = groupby(sorted(differences, key=_order), key=lambda each: each.path.device)
    by_device = [(device, tuple(group)) for device, group in ordered]
    for device, found in by_device:
        if device:
            whole = next((each for each in found if each.path.is_device), None)
            if whole and whole.wanted:
                image = _written_image(guest.desired, device, actual)
                yield AttachDevice(domain_uuid=uuid, device=device, image=image)
            elif whole:
                yield _detached(guest, device, places.get(device, ""), actual)
            else:
                yield from _device_actions(guest, device, found, places.get(device, ""))
    rest = {each.path.text: each for each in differences if not each.path.device}
    if "currentMemory" in rest:
        yield from _memory(guest)
    if "vcpu/@current" in rest:
        yield from _vcpus(guest)
    if rest.keys() & {"title", "description"}:
        yield _title(guest, rest)


def _order(difference: Difference) -> tuple[bool, bool, str]:
    path = difference.path
    return path.is_device and not difference.wanted, path.kind != "controller", path.device


def _device_actions(guest: Guest, device: str, found: tuple[Difference, ...], place: str) -> Iterator[Action]:
    kind, _, key = device.partition(":")
    if kind == "interface":
        link = wanted_link(guest.desired, device)
        up = link != "down"
        yield SetLink(
            domain_uuid=guest.domain.uuid, device=device, place=place, up=up, is_stated=bool(link), hazards=_unless(up)
        )
    elif limits := live_limits(guest.live, guest.desired, device, found):
        yield LimitDisk(domain_uuid=guest.domain.uuid, target=key, limits=tuple(limits.items()))
    if any(each.path.steps[2:3] == ("source",) or each.path.attribute == "type" for each in found):
        said = medium(dict(device_steps(guest.desired.tree)).get(device))
        yield ChangeMedia(domain_uuid=guest.domain.uuid, device=device, medium=said, hazards=_unless(bool(said)))


def _detached(guest: Guest, device: str, place: str, actual: World) -> Action:
    return DetachDevice(
        domain_uuid=guest.domain.uuid,
        device=device,
        place=place,
        image=_written_image(guest.live, device, actual),
        hazards=(Hazard.INTERRUPTS_GUEST,),
    )


def _written_image(document: Document, device: str, actual: World) -> ImageRef | None:
    """Return the image of this cluster that a device writes to; a template or `xml:` may name other clusters."""
    elsewhere = images_elsewhere(document.tree, actual.cluster.addresses)
    images = {f"disk:{disk.target}": disk.image for disk in document.disks if disk.is_written}
    image = images.get(device)
    return None if image is None or image.snapshot or image in elsewhere else image


def _unless(is_harmless: bool) -> tuple[Hazard, ...]:
    return () if is_harmless else (Hazard.INTERRUPTS_GUEST,)


def _memory(guest: Guest) -> Iterator[Action]:
    has, wanted = _balloon(guest)
    if wanted != has and not _is_asked(guest, has, wanted):
        hazards = _unless(wanted > has)
        yield SetMemory(domain_uuid=guest.domain.uuid, from_bytes=has, to_bytes=wanted, hazards=hazards)


def _balloon(guest: Guest) -> tuple[int, int]:
    """Return the memory that a guest has, and the memory that it should have, in bytes."""
    memory = current_memory(guest.live.tree)
    return memory.current, min(wanted_memory(guest.desired), memory.most)


def _is_asked(guest: Guest, has: int, wanted: int) -> bool:
    """Whether the guest should give memory back, and was asked to: at its start or since, as its own mark records."""
    stated_balloon = guest.live.mark.balloon_bytes if guest.live.mark else 0
    return wanted < has and current_memory(guest.definition.tree).current == wanted and stated_balloon in (0, wanted)


def _asked(guest: Guest, differences: Sequence[Difference]) -> Iterator[Finding]:
    """A guest gives memory back when its driver runs; until then there is nothing to ask again."""
    if not any(each.path == _CURRENT_MEMORY for each in differences):
        return
    has, wanted = _balloon(guest)
    if _is_asked(guest, has, wanted):
        text = (
            f"{_CURRENT_MEMORY}: it has {format_size(has)} and should have {format_size(wanted)}; takes effect when "
            f"its balloon driver gives the rest back"
        )
        yield Finding(domain=guest.domain.name, kind=FindingKind.ASKED, subject=str(_CURRENT_MEMORY), text=text)


def _vcpus(guest: Guest) -> Iterator[Action]:
    vcpus = current_vcpus(guest.live.tree)
    has, wanted = vcpus.current, min(wanted_vcpus(guest.desired), vcpus.most)
    if wanted != has:
        yield SetVcpus(domain_uuid=guest.domain.uuid, from_count=has, to_count=wanted, hazards=_unless(wanted > has))


def _title(guest: Guest, differences: Mapping[str, Difference]) -> SetTitle:
    # Both are set at once: a value that does not differ, or that virtrbd does not state, stays as it is.
    wanted = titles(guest.live) | {name: each.wanted for name, each in differences.items()}
    return SetTitle(domain_uuid=guest.domain.uuid, title=wanted["title"], description=wanted["description"])


def _mark(guest: Guest, new_mark: DomainMark, places: Mapping[str, str]) -> MarkLive:
    """What the guest has of virtrbd's from now on, including devices that the guest has not released yet."""
    stated = tuple(sorted({*_live_stated(guest), *new_mark.stated}))
    return MarkLive(domain_uuid=new_mark.uuid, stated=stated, places=tuple(sorted(places.items())))


def _live_stated(guest: Guest) -> tuple[ElementPath, ...]:
    """Return what of the running guest is marked as virtrbd's."""
    return guest.live.mark.stated if guest.live.mark else ()


def _pending(domain: Domain, waiting: Sequence[Difference]) -> Iterator[Finding]:
    for each in waiting:
        is_rebuild = each.mend is Mend.REBUILD
        kind = FindingKind.REBUILD if is_rebuild else FindingKind.PENDING
        when = (
            "only a new domain has it" if is_rebuild else "takes effect after the guest has been shut down and started"
        )
        yield Finding(domain=domain.name, kind=kind, subject=str(each.path), text=f"{each}; {when}")


def _foreign(guest: Guest, new_mark: DomainMark) -> Iterator[Finding]:
    for device in live_only_devices(guest.live, guest.definition, new_mark.ignored):
        words = device.replace(":", " ", 1)
        yield Finding(
            domain=guest.domain.name,
            kind=FindingKind.FOREIGN,
            subject=f"live{ElementPath.of_device(device)}",
            text=f"{words} is only in the running guest; left alone, lost at its next boot",
        )

    documents = guest.live, guest.definition, guest.desired
    for change in (*words_of_others(*documents), *settings_of_others(*documents)):
        if not is_ignored(change.path, new_mark.ignored):
            text = f"{change} only in the running guest; left alone, lost at its next boot"
            yield Finding(domain=guest.domain.name, kind=FindingKind.FOREIGN, subject=f"live{change.path}", text=text)
    for device in media_of_others(*documents):
        yield Finding(
            domain=guest.domain.name,
            kind=FindingKind.FOREIGN,
            subject=f"live{ElementPath.of_device(device) / 'source'}",
            text=f"{device.partition(':')[2]} of the running guest holds a medium that others inserted; left alone, "
            f"lost at its next boot",
        )


def _monitors(guest: Guest, actual: World) -> Iterator[Finding]:
    held, cluster = guest.live.monitors, actual.cluster
    if cluster.has_none_of(held):
        if not cluster.has_none_of(guest.definition.monitors):
            way_out = "the definition has the new addresses: restart it"
        elif not cluster.has_none_of(guest.desired.monitors):
            way_out = "its definition does not have the new addresses yet: define it, then restart it"
        else:
            way_out = "the spec's xml: or template names them: remove them there, then restart it"
        yield Finding(
            domain=guest.domain.name,
            kind=FindingKind.MONITORS,
            text=f"the running guest was started with monitors that are all gone ({', '.join(sorted(held))}); it would "
            f"not find the cluster again after losing it, nor migrate; {way_out}",
        )
