"""What the image behind one disk needs."""

from msgspec import Struct, field

from virtrbd.domainxml.defined import DefinedDomain
from virtrbd.domainxml.document import Definition, Document
from virtrbd.errors import ExitCode
from virtrbd.lazily import lazily
from virtrbd.model.actions import Action
from virtrbd.model.disk import Disk
from virtrbd.model.domain import Domain
from virtrbd.model.failure import Failure
from virtrbd.model.hazard import Hazard
from virtrbd.model.image import Image, ImageRef
from virtrbd.model.image_actions import (
    CloneImage,
    CreateImage,
    DropIntent,
    FinishRollback,
    GrowImage,
    ImportImage,
    MarkImage,
    RemoveHalfImage,
)
from virtrbd.model.image_state import RollingBack
from virtrbd.model.names import check_new_name
from virtrbd.model.plan import Finding, FindingKind
from virtrbd.model.record import replace
from virtrbd.model.size import format_size
from virtrbd.planning.interrupted import as_it_is, is_half, is_unclear
from virtrbd.planning.unready import not_ready_message, ready_again, without_a_byte
from virtrbd.planning.world import World
from virtrbd.printable import shell_command

# Only a run that lacks an image, or has one to grow, parses for it.
with lazily():
    from virtrbd.domainxml.image_uses import named_images

# Errors about a spec's file for which the spec may still be right.
_OF_THE_WORLD = (ExitCode.UNAVAILABLE, ExitCode.DENIED, ExitCode.CONFIG, ExitCode.BUG)


class ImagePlan(Struct, frozen=True, kw_only=True):
    """The actions for one image, or why there are none: what is wrong with the spec, or what fails for now."""

    actions: list[Action] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def plan_image(domain: Domain, disk: Disk, defined: DefinedDomain | None, actual: World) -> ImagePlan:
    """Return the actions that make the disk's image as the spec wants it."""
    where = f"{domain.origin.rpartition(':')[0]}:{disk.line}: disk {disk.target}: "
    image = actual.images.get(disk.image.image)
    if (pool := disk.image.pool) in actual.missing_pools:
        planned = ImagePlan(
            problems=[
                f"pool {pool} does not exist; check the name, or make it: {shell_command('ceph osd pool create', pool)}"
            ]
        )
    elif image is None:
        gone = (Hazard.LOSES_DATA,) if _had(domain, disk, defined, actual) else ()
        planned = _plan_missing(domain, disk, actual, gone)
        if planned.actions:
            planned = replace(planned, actions=[*plan_half_made(disk.image.image, actual), *planned.actions])
    elif disk.existing:
        planned = _plan_existing(disk, as_it_is(image, actual.intents.get(image.ref)))
    else:
        planned = _plan_present(domain, disk, image, defined, actual)
    return ImagePlan(
        actions=planned.actions,
        problems=[where + problem for problem in planned.problems],
        failures=[replace(failure, text=where + failure.text) for failure in planned.failures],
    )


def _had(domain: Domain, disk: Disk, defined: DefinedDomain | None, actual: World) -> bool:
    """Whether the domain had this image when it was defined or last observed: then the image is not new, it is lost.

    Law 15: an empty disk in its place would look like lost data, and the operator would not look in the trash.
    """
    last = actual.last_definitions.get(domain.uuid)
    documents: list[Document] = [*(defined.documents if defined else ()), *([Definition(last.xml)] if last else [])]
    return any(use.ref.image == disk.image.image for each in documents for use in named_images(each.tree).images)


def plan_half_made(ref: ImageRef, actual: World) -> list[Action]:
    """Return the actions that remove what a run of this host left under the name of the image."""
    image_id = actual.half_made.get(ref)
    return [RemoveHalfImage(ref=ref, image_id=image_id)] if image_id else []


def _plan_missing(domain: Domain, disk: Disk, actual: World, hazards: tuple[Hazard, ...] = ()) -> ImagePlan:
    ref = disk.image.image
    if disk.existing:
        return ImagePlan(problems=[f"image {ref} does not exist; existing: true only uses an existing image"])
    try:
        check_new_name(ref.name)
    except ValueError as error:
        return ImagePlan(
            problems=[f"image {ref} does not exist, and virtrbd does not make an image of that name: {error}"]
        )
    if not disk.clone and not disk.import_file:
        assert disk.size_bytes is not None, "the schema demands a size for a disk without a source"
        return ImagePlan(
            actions=[CreateImage(ref=ref, domain_uuid=domain.uuid, size_bytes=disk.size_bytes, hazards=hazards)]
        )
    failure = actual.file_failures.get(disk.import_source) if disk.import_file else None
    if failure and failure.exit_code in _OF_THE_WORLD:
        return ImagePlan(failures=[failure])
    source_bytes, problem = _source_size(disk, actual)
    if problem:
        return ImagePlan(problems=[problem])
    if disk.size_bytes is not None and disk.size_bytes < source_bytes:
        return ImagePlan(problems=[_too_small(disk, str(disk.clone or disk.import_source), source_bytes)])
    actions: list[Action] = [_make(domain, disk, source_bytes, hazards)]
    if disk.size_bytes is not None and disk.size_bytes > source_bytes:
        actions.append(_grow(domain, disk, source_bytes, live=False))
    return ImagePlan(actions=actions)


def _make(domain: Domain, disk: Disk, size_bytes: int, hazards: tuple[Hazard, ...]) -> CloneImage | ImportImage:
    ref, uuid = disk.image.image, domain.uuid
    if disk.clone:
        return CloneImage(ref=ref, parent=disk.clone, domain_uuid=uuid, size_bytes=size_bytes, hazards=hazards)
    return ImportImage(
        ref=ref,
        source=disk.import_source,
        domain_uuid=uuid,
        size_bytes=size_bytes,
        hazards=hazards,
    )


def _source_size(disk: Disk, actual: World) -> tuple[int, str]:
    """Return the size of the image's source, or why the image can't be made from it."""
    if not disk.clone:
        if failure := actual.file_failures.get(disk.import_source):
            return 0, failure.text
        return actual.file_sizes[disk.import_source], ""
    parent = actual.images.get(disk.clone)
    if parent is None:
        return (
            0,
            f"parent {disk.clone} does not exist; make it with `"
            f"{shell_command('virtrbd image snapshot create --protect', disk.clone)}`",
        )
    if parent.state:
        return 0, f"parent {disk.clone} is not ready: {parent.state}; {ready_again(parent)}"
    if not parent.size_bytes:
        return 0, without_a_byte(parent.ref)
    return parent.size_bytes, ""


def _too_small(disk: Disk, what: str, size_bytes: int) -> str:
    return (
        f"{what} is {format_size(size_bytes)}, spec says {format_size(disk.size_bytes or 0)}; "
        f"images never shrink: raise size"
    )


def _plan_existing(disk: Disk, image: Image) -> ImagePlan:
    if image.state:
        return ImagePlan(problems=[not_ready_message(image)])
    if disk.image.snapshot and disk.image.snapshot not in image.snapshots:
        return ImagePlan(problems=[f"snapshot {disk.image} does not exist; name one of {', '.join(image.snapshots)}"])
    return ImagePlan()


def _plan_present(domain: Domain, disk: Disk, image: Image, defined: DefinedDomain | None, actual: World) -> ImagePlan:
    intent = actual.intents.get(image.ref)
    if is_half(image, intent):
        again = _plan_missing(domain, disk, actual)
        remove = RemoveHalfImage(ref=image.ref, image_id=image.image_id)
        return ImagePlan(actions=[remove, *again.actions], problems=again.problems, failures=again.failures)
    if intent and intent.domain_uuid == domain.uuid and is_unclear(image, intent):
        text = f"image {image.ref}: its import was interrupted, and without fast-diff it is unknown whether it is whole"
        return ImagePlan(problems=[f"{text}; {shell_command('virtrbd image remove', image.ref)}, then run again"])
    actions: list[Action] = []
    if snapshot := _unfinished_rollback(domain, image, actual):
        is_begun_here = actual.rollbacks.get(image.ref) == snapshot
        hazards = () if is_begun_here else (Hazard.LOSES_DATA,)
        actions.append(FinishRollback(ref=replace(image.ref, snapshot=snapshot), hazards=hazards))
    elif image.state:
        return ImagePlan(problems=[not_ready_message(image)])
    if disk.size_bytes is not None and disk.size_bytes < image.size_bytes:
        return ImagePlan(problems=[_too_small(disk, f"image {image.ref}", image.size_bytes)])
    # One of them is the guest of this host, where that runs with the image.
    live = defined.live if defined and defined.state.is_active else None
    own = 1 if live and live.names(image.ref) else 0
    if len(image.watchers) > own and image.mark and image.is_of_other_host(actual.host_uuid):
        who = ", ".join(map(str, image.watchers))
        text = f"image {image.ref} belongs to host {image.mark.host_label}, and is open by {who}"
        return ImagePlan(problems=[f"{text}; shut the guest down there first"])
    actions += plan_mark(domain, image, actual)
    if disk.size_bytes is not None and disk.size_bytes > image.size_bytes:
        actions.append(_grow(domain, disk, image.size_bytes, live=_has(defined, disk)))
    return ImagePlan(actions=actions)


def _has(defined: DefinedDomain | None, disk: Disk) -> bool:
    """Whether the guest runs with the image: an image that is attached only now is grown before that."""
    live = defined.live if defined and defined.state.is_active else None
    return live is not None and any((d.target, d.image) == (disk.target, disk.image.image) for d in live.disks)


def _unfinished_rollback(domain: Domain, image: Image, actual: World) -> str:
    """Return the snapshot of an interrupted rollback of this host, or ""."""
    is_ours = image.is_of(domain.uuid) and image.mark is not None and image.mark.host == actual.host_uuid
    snapshot = image.state.snapshot if isinstance(image.state, RollingBack) else ""
    return snapshot if is_ours and snapshot in image.snapshots else ""


def plan_mark(domain: Domain, image: Image, actual: World) -> list[Action]:
    """Return the actions that make the image the domain's: none, the mark alone, or a take-over."""
    intent = actual.intents.get(image.ref)
    is_marked = image.mark is not None and image.is_of(domain.uuid) and image.mark.host == actual.host_uuid
    if is_marked and image.ref not in actual.unknown_marks:
        return [DropIntent(ref=image.ref)] if intent else []
    made = replace(image, mark=None) if is_marked else image
    if intent and intent.domain_uuid == domain.uuid and intent.matches(made):
        reason = "its creation was interrupted before the mark"
        return [_mark(domain, image, reason), DropIntent(ref=image.ref)]
    drop = [DropIntent(ref=image.ref)] if intent else []
    if is_marked:
        reason = "it bears this domain's mark, but this host has no record of making it"
        return [_mark(domain, image, reason, Hazard.TAKES_OVER), *drop]
    if image.mark and image.is_of(domain.uuid):
        reason = f"it belongs to this domain on host {image.mark.host_label}, which may run it or hold its managed save"
        return [_mark(domain, image, reason, Hazard.TAKES_OVER), *drop]
    owner = (
        f"domain {image.mark.domain_uuid}" if image.mark and image.mark.domain_uuid else "no domain that virtrbd knows"
    )
    return [_mark(domain, image, f"it exists and belongs to {owner}", Hazard.TAKES_OVER), *drop]


def _mark(domain: Domain, image: Image, reason: str, *hazards: Hazard) -> MarkImage:
    return MarkImage(
        ref=image.ref, image_id=image.image_id, domain_uuid=domain.uuid, reason=reason, hazards=tuple(hazards)
    )


def _grow(domain: Domain, disk: Disk, from_bytes: int, *, live: bool) -> GrowImage:
    assert disk.size_bytes is not None, "only a stated size grows an image"
    return GrowImage(
        ref=disk.image.image,
        domain_uuid=domain.uuid,
        target=disk.target,
        from_bytes=from_bytes,
        to_bytes=disk.size_bytes,
        live=live,
    )


def cdrom_problems(domain: Domain, actual: World) -> list[str]:
    """Return the problems with images of CD-ROM drives: of these virtrbd makes only a seed."""
    problems = []
    for cdrom in domain.cdroms:
        if cdrom.image and not cdrom.is_seed:
            where = f"{domain.origin.rpartition(':')[0]}:{cdrom.line}: cdrom {cdrom.target}: "
            image = actual.images.get(cdrom.image.image)
            if image is None:
                command = shell_command("virtrbd image import --format iso FILE", cdrom.image.image)
                way_out = f"make it with `{command}`, or leave the drive empty"
                problems.append(f"{where}image {cdrom.image.image} does not exist; {way_out}")
            elif image.mark and image.mark.domain_uuid not in ("", domain.uuid):
                owner = f"belongs to domain {image.mark.domain_uuid}, whose data this domain may not read"
                problems.append(f"{where}image {image.ref} {owner}; name another image, or a copy of it")
            elif (found := as_it_is(image, actual.intents.get(image.ref))).state:
                problems.append(where + not_ready_message(found))
            elif cdrom.image.snapshot and cdrom.image.snapshot not in image.snapshots:
                problems.append(
                    f"{where}snapshot {cdrom.image} does not exist; make it, or name the image without a snapshot"
                )
    return problems


def rebuild_findings(domain: Domain, actual: World) -> tuple[Finding, ...]:
    """Return what only a new image would have: another parent than the image's."""
    found = []
    for disk in domain.disks:
        image = actual.images.get(disk.image.image)
        if image and disk.clone and image.parent and image.parent != disk.clone:
            text = (
                f"disk {disk.target}: image {image.ref} was cloned from {image.parent}, the spec says {disk.clone}; "
                f"only a new image would have that parent, without the data of this image"
            )
            found.append(Finding(domain=domain.name, kind=FindingKind.REBUILD, subject=disk.target, text=text))
    return tuple(found)
