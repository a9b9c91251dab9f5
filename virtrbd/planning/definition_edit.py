"""What an edit of a definition becomes: a new definition or only a new mark, with its hazards and findings."""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from virtrbd.domainxml.defined import DefinedDomain
from virtrbd.domainxml.disk_sources import moved_disks
from virtrbd.domainxml.document import Definition, Edited, Rendered
from virtrbd.domainxml.drift import foreign_changes
from virtrbd.domainxml.edit import Edit, edit_definition, with_mark
from virtrbd.domainxml.managed_paths import every_path
from virtrbd.errors import DocumentError
from virtrbd.model.difference import Difference
from virtrbd.model.domain import Domain
from virtrbd.model.domain_actions import DefineDomain, RenewMark
from virtrbd.model.element_path import ElementPath
from virtrbd.model.hazard import Hazard
from virtrbd.model.live_actions import device_words
from virtrbd.model.mark import DomainMark, ForeignChange
from virtrbd.model.plan import Finding, FindingKind
from virtrbd.model.record import replace
from virtrbd.planning.definition_plan import DefinitionPlan
from virtrbd.planning.world import World
from virtrbd.printable import shell_command


class Redefinition(Struct, frozen=True, kw_only=True):
    """A domain that libvirt holds, with its mark, and what it should be: the rendered document and the mark of that."""

    domain: Domain
    defined: DefinedDomain
    mark: DomainMark | None
    desired: Rendered
    new_mark: DomainMark


def plan_edit(wanted: Redefinition, actual: World) -> DefinitionPlan:
    """Return what makes the definition as it should be. Raises DocumentError where that cannot be edited."""
    domain, defined, new_mark = wanted.domain, wanted.defined, wanted.new_mark
    edit = edit_definition(defined.definition, wanted.desired, wanted.mark, new_mark)
    if edit.unclear:
        raise DocumentError(_unclear(domain, edit.unclear))
    foreign = _foreign(wanted, edit.document, actual)
    findings = (
        *_left_findings(domain, edit.left),
        *_boot_findings(domain, edit.boots),
        *foreign_findings(domain, foreign),
    )
    if wanted.mark and not edit.differences and defined.persistent:
        renew = RenewMark(
            domain_uuid=domain.uuid,
            inputs=new_mark.inputs,
            based_on=defined.definition.text,
            stated=new_mark.stated,
            foreign=foreign,
            places=edit.places,
            forms=edit.forms,
        )
        return DefinitionPlan(actions=(renew,), findings=findings)
    if edit.loss:
        raise DocumentError(_lossy(domain, edit.loss))
    action = DefineDomain(
        domain_uuid=domain.uuid,
        xml=with_mark(edit.document, replace(new_mark, foreign=foreign, places=edit.places)).text,
        inputs=new_mark.inputs,
        rendered=wanted.desired.text,
        based_on=defined.definition.text,
        was_undefined=not defined.persistent,
        differences=_with_owners(_with_images(edit.differences, domain, defined, actual), edit.taken),
        hazards=_edit_hazards(wanted, edit, actual),
    )
    return DefinitionPlan(actions=(action,), findings=findings)


def _lossy(domain: Domain, loss: str) -> str:
    """Return why a definition is not edited. libvirt would accept it neither from virtrbd nor from its own file."""
    return (
        f"its definition is not changed: it holds {loss}, which XML forbids and libvirt would not accept again; "
        f"write title, description and metadata without it (virsh desc, virsh metadata) before libvirtd restarts: "
        f"it would lose {domain.name}"
    )


def _unclear(domain: Domain, devices: Sequence[str]) -> str:
    """Return why a definition is not edited where several devices could be virtrbd's; the message names the first."""
    return (
        f"its definition is not changed: it has several devices with the key {device_words(devices[0])}, and nothing "
        f"says which is virtrbd's; remove the others with virsh edit, or leave them all to virsh "
        f"with {shell_command('virtrbd ignore', domain.name, ElementPath.of_device(devices[0]))}"
    )


def _left_findings(domain: Domain, devices: Sequence[str]) -> Iterator[Finding]:
    for device in devices:
        path = ElementPath.of_device(device)
        text = (
            f"{path}: is no longer stated, but the {device_words(device)} that virtrbd made is not where it "
            f"was; another device with that key is left alone"
        )
        yield Finding(domain=domain.name, kind=FindingKind.FOREIGN, subject=str(path), text=text)


def _boot_findings(domain: Domain, devices: Sequence[str]) -> Iterator[Finding]:
    for device in devices:
        text = (
            f"/os/boot: the spec's boot is not set, because libvirt takes none beside the boot order that others gave "
            f"to {device_words(device)}; remove that order with virsh edit, or give the spec's devices boot orders"
        )
        path = ElementPath.of_device(device) / "boot"
        yield Finding(domain=domain.name, kind=FindingKind.FOREIGN, subject=str(path), text=text)


def _foreign(wanted: Redefinition, edited: Edited, actual: World) -> tuple[ForeignChange, ...]:
    """Return the changes by others. A domain without a mark belongs to others entirely: it has none."""
    defined, mark = wanted.defined, wanted.mark
    if mark is None:
        return ()
    last = actual.last_definitions.get(defined.uuid)
    is_upgraded = bool(last and last.hypervisor != actual.hypervisor_digest)
    before: Definition | Rendered | None = None
    if mark.definition == "":
        # The run that defined it was killed before it could record what libvirt made of it. What libvirt added and
        # what others added are distinguished as after an upgrade.
        before, is_upgraded = wanted.desired, True
    elif defined.definition.digest == mark.definition:
        before = defined.definition
    elif last and _digest_of(kept := Definition(last.xml)) == mark.definition:
        # After a crash it may be of an older definition: virtrbd's own changes would be taken for others'.
        before = kept
    return foreign_changes(
        before,
        defined.definition,
        edited,
        mark.foreign,
        stated=every_path(wanted.desired),
        ignored=mark.ignored,
        is_upgraded=is_upgraded,
    )


def _digest_of(kept: Definition) -> str:
    """Return the digest of the definition that was kept; a lost file costs only the explanation."""
    try:
        return kept.digest
    except DocumentError:
        return ""


def foreign_findings(domain: Domain, foreign: Sequence[ForeignChange]) -> tuple[Finding, ...]:
    """Return that others changed the definition, and how that is no longer reported."""
    return tuple(
        Finding(
            domain=domain.name,
            kind=FindingKind.FOREIGN,
            subject=str(change.path),
            text=f"{change}; left alone ({shell_command('virtrbd ignore', domain.name, change.path)} silences this)",
        )
        for change in foreign
    )


def _with_images(
    differences: Sequence[Difference], domain: Domain, defined: DefinedDomain, actual: World
) -> tuple[Difference, ...]:
    """Name the images that disks leave behind, and the existing images that disks get: no other message does."""
    held = defined.definition.disks
    leave = {_path_of(disk.target): f"{disk.image}, an image that is kept" for disk in held if disk.image}
    come = {
        _path_of(disk.target): f"{disk.image}, an image that exists already"
        for disk in domain.disks
        if actual.images.get(disk.image.image)
    }
    return tuple(
        replace(each, wanted=come.get(each.path, each.wanted))
        if each.wanted
        else replace(each, found=leave.get(each.path, each.found))
        for each in differences
    )


def _with_owners(differences: Sequence[Difference], taken: Sequence[str]) -> tuple[Difference, ...]:
    """Add to what others made that they made it: that is why the edit needs a permission."""
    return tuple(
        replace(each, found=f"{each.found}, made by others".removeprefix(", ")) if each.path.device in taken else each
        for each in differences
    )


def _edit_hazards(wanted: Redefinition, edit: Edit, actual: World) -> tuple[Hazard, ...]:
    domain, definition = wanted.domain, wanted.defined.definition
    hazards = [Hazard.TAKES_OVER] if wanted.mark is None or edit.taken else []
    # The removal of a disk is often a slip in `disks:`, and a guest that is off needs the disk as much.
    named = {disk.image for disk in domain.disks}
    disks = {_path_of(disk.target) for disk in definition.disks if disk.device == "disk" and disk.image not in named}
    if any(difference.path in disks and not difference.wanted for difference in edit.differences):
        hazards.append(Hazard.INTERRUPTS_GUEST)
    # Another image or file behind a known target: the guest would boot into other data.
    own = {f"disk:{disk.target}" for disk in domain.disks}
    if moved_disks(definition, edit.document, {monitor.address for monitor in actual.cluster.monitors}, own):
        hazards.append(Hazard.LOSES_DATA)
    return tuple(hazards)


def _path_of(target: str) -> ElementPath:
    return ElementPath.of_device(f"disk:{target}")
