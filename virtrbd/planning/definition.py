"""What a domain's definition and its running guest need: both compared with what is desired."""

import shlex
from collections.abc import Collection, Iterator, Sequence

from msgspec import Struct

from virtrbd.domainxml.defined import DefinedDomain
from virtrbd.domainxml.disk_sources import moved_disks
from virtrbd.domainxml.document import Definition, Edited, Rendered
from virtrbd.domainxml.drift import foreign_changes
from virtrbd.domainxml.edit import Edit, edit_definition, with_mark
from virtrbd.domainxml.ignoring import not_ignored
from virtrbd.domainxml.live import wanted_memory
from virtrbd.domainxml.managed_paths import every_path, stated_paths
from virtrbd.domainxml.own_devices import rendered_places
from virtrbd.errors import DocumentError
from virtrbd.lazily import lazily
from virtrbd.model.difference import Difference
from virtrbd.model.domain import Domain
from virtrbd.model.domain_actions import DefineDomain, RenewMark
from virtrbd.model.hazard import Hazard
from virtrbd.model.lint import Lint
from virtrbd.model.live_actions import device_words
from virtrbd.model.mark import DomainMark, ForeignChange
from virtrbd.model.plan import Finding, FindingKind
from virtrbd.model.record import replace
from virtrbd.planning.definition_plan import DefinitionPlan
from virtrbd.planning.live import Guest, plan_live
from virtrbd.planning.machine_type import capabilities_key
from virtrbd.planning.world import World
from virtrbd.printable import shell_command

# A run in which nothing changed needs no Jinja2, and fits nothing.
with lazily():
    from virtrbd.compat.adapt import fit
    from virtrbd.domainxml.rendered import render_document


class _Rendered(Struct, frozen=True, kw_only=True):
    """What the spec was rendered to, None where it cannot be."""

    document: Rendered | None = None
    problems: tuple[str, ...] = ()
    lints: tuple[Lint, ...] = ()


def plan_definition(
    domain: Domain,
    defined: DefinedDomain | None,
    mark: DomainMark | None,
    inputs: str,
    secret_uuid: str,
    actual: World,
    template_dir: str,
) -> DefinitionPlan:
    """Return what brings definition and guest into line."""
    is_known = bool(
        defined
        and defined.persistent
        and mark
        and (mark.inputs, mark.definition) == (inputs, defined.definition.digest)
    )
    if defined and mark and is_known and not defined.live:
        return DefinitionPlan(findings=_foreign_findings(domain, mark.foreign))
    rendered = _render(domain, defined, secret_uuid, actual, template_dir)
    if rendered.document is None or rendered.problems:
        return DefinitionPlan(problems=rendered.problems, lints=rendered.lints)
    desired = rendered.document
    new_mark = _new_mark(domain, mark, desired, inputs, actual)
    if defined is None:
        xml = with_mark(desired, new_mark).text
        define = DefineDomain(domain_uuid=domain.uuid, xml=xml, inputs=inputs, rendered=desired.text)
        return DefinitionPlan(actions=(define,), lints=rendered.lints)
    if mark and is_known:
        # Only the guest must be looked at, and lints were reported before.
        found = DefinitionPlan(findings=_foreign_findings(domain, mark.foreign))
    else:
        found = replace(_plan_edit(domain, defined, desired, mark, new_mark, actual), lints=rendered.lints)
    if not defined.live:
        return found
    normal, left_out = _in_libvirts_words(defined, desired, mark, new_mark)
    guest = Guest(domain=domain, live=defined.live, definition=defined.definition, desired=normal)
    live = plan_live(guest, new_mark, actual, left_out)
    waiting = {finding.subject for finding in live.findings if finding.kind is FindingKind.PENDING}
    actions = tuple(
        _with_pending(action, waiting) if isinstance(action, DefineDomain) else action for action in found.actions
    )
    return replace(found, actions=(*actions, *live.actions), findings=(*found.findings, *live.findings))


def _with_pending(edit: DefineDomain, waiting: Collection[str]) -> DefineDomain:
    """Return the edit, which says whether a part of it must wait for the next boot."""
    return replace(edit, pending=any(difference.path in waiting for difference in edit.differences))


def _new_mark(domain: Domain, mark: DomainMark | None, rendered: Rendered, inputs: str, actual: World) -> DomainMark:
    ignored = mark.ignored if mark else ()
    return DomainMark(
        uuid=domain.uuid,
        host=actual.host_uuid,
        inputs=inputs,
        stated=not_ignored(stated_paths(rendered), ignored),
        foreign=mark.foreign if mark else (),
        ignored=ignored,
        hold=mark.hold if mark else None,
        balloon_bytes=wanted_memory(rendered),
        generation=mark.generation if mark else "",
        places=rendered_places(rendered),
        forms=mark.forms if mark else (),
    )


def _in_libvirts_words(
    defined: DefinedDomain, rendered: Rendered, mark: DomainMark | None, new_mark: DomainMark
) -> tuple[Rendered, tuple[str, ...]]:
    """Return the rendered document in the forms that the mark records, and what libvirt left out: a guest starts so."""
    if mark is None or not mark.forms:
        return rendered, ()
    edit = edit_definition(defined.definition, rendered, mark, new_mark)
    return edit.normal, edit.left_out


def _plan_edit(
    domain: Domain,
    defined: DefinedDomain,
    desired: Rendered,
    mark: DomainMark | None,
    new_mark: DomainMark,
    actual: World,
) -> DefinitionPlan:
    edit = edit_definition(defined.definition, desired, mark, new_mark)
    if edit.unclear:
        raise DocumentError(_unclear(domain, edit.unclear))
    foreign = _foreign(defined, edit.document, mark, desired, actual)
    findings = (*_left_findings(domain, edit.left), *_foreign_findings(domain, foreign))
    if mark and not edit.differences and defined.persistent:
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
        rendered=desired.text,
        based_on=defined.definition.text,
        was_undefined=not defined.persistent,
        differences=_with_owners(_with_images(edit.differences, domain, defined, actual), edit.taken),
        hazards=_edit_hazards(domain, defined, mark, edit, actual),
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
        f"with {shell_command('virtrbd ignore', domain.name, f'/devices/{devices[0]}')}"
    )


def _left_findings(domain: Domain, devices: Sequence[str]) -> Iterator[Finding]:
    for device in devices:
        text = (
            f"/devices/{device}: is no longer stated, but the {device_words(device)} that virtrbd made is not where it "
            f"was; another device with that key is left alone"
        )
        yield Finding(domain=domain.name, kind=FindingKind.FOREIGN, subject=f"/devices/{device}", text=text)


def _foreign(
    defined: DefinedDomain, edited: Edited, mark: DomainMark | None, rendered: Rendered, actual: World
) -> tuple[ForeignChange, ...]:
    """Return the changes by others. A domain without a mark belongs to others entirely: it has none."""
    if mark is None:
        return ()
    last = actual.last_definitions.get(defined.uuid)
    is_upgraded = bool(last and last.hypervisor != actual.hypervisor_digest)
    before: Definition | Rendered | None = None
    if mark.definition == "":
        # The run that defined it was killed before it could record what libvirt made of it. What libvirt added and
        # what others added are distinguished as after an upgrade.
        before, is_upgraded = rendered, True
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
        stated=every_path(rendered),
        ignored=mark.ignored,
        is_upgraded=is_upgraded,
    )


def _digest_of(kept: Definition) -> str:
    """Return the digest of the definition that was kept; a lost file costs only the explanation."""
    try:
        return kept.digest
    except DocumentError:
        return ""


def _foreign_findings(domain: Domain, foreign: Sequence[ForeignChange]) -> tuple[Finding, ...]:
    return tuple(
        Finding(
            domain=domain.name,
            kind=FindingKind.FOREIGN,
            subject=change.path,
            text=f"{change}; left alone ({shell_command('virtrbd ignore', domain.name, change.path)} silences this)",
        )
        for change in foreign
    )


def _render(
    domain: Domain, defined: DefinedDomain | None, secret_uuid: str, actual: World, template_dir: str
) -> _Rendered:
    capabilities = actual.capabilities.get(capabilities_key(domain, defined))
    if capabilities is None:
        return _Rendered(problems=(_unknown_machine(domain, defined),))
    if domain.machine_upgrade:
        # An alias would mean the version that libvirt chose at the first define.
        domain = replace(domain, machine=capabilities.machine)
    fitted = fit(domain, capabilities, actual.images, actual.pool_config)
    if fitted.problems:
        return _Rendered(problems=fitted.problems, lints=fitted.lints)
    rendering = render_document(fitted.fitted, actual.cluster, secret_uuid, template_dir)
    return _Rendered(document=rendering.document, problems=rendering.problems, lints=fitted.lints)


def _unknown_machine(domain: Domain, defined: DefinedDomain | None) -> str:
    hypervisor, machine = capabilities_key(domain, defined)
    way_out = "write another machine or hypervisor"
    if machine != domain.machine:
        way_out = "write machine_upgrade: true, or use a QEMU that has it"
    return (
        f"{domain.origin}: {domain.name}: libvirt knows no machine {machine} with hypervisor {hypervisor} here "
        f"(virsh domcapabilities --virttype {shlex.quote(hypervisor)} --machine {shlex.quote(machine)}); {way_out}"
    )


def _with_images(
    differences: Sequence[Difference], domain: Domain, defined: DefinedDomain, actual: World
) -> tuple[Difference, ...]:
    """Name the images that disks leave behind, and the existing images that disks get: no other message does."""
    held = defined.definition.disks
    leave = {f"/devices/disk:{disk.target}": f"{disk.image}, an image that is kept" for disk in held if disk.image}
    come = {
        f"/devices/disk:{disk.target}": f"{disk.image}, an image that exists already"
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
    devices = {f"/devices/{name}" for name in taken}
    return tuple(
        replace(each, found=f"{each.found}, made by others".removeprefix(", "))
        if "/".join(each.path.split("/")[:3]) in devices
        else each
        for each in differences
    )


def _edit_hazards(
    domain: Domain, defined: DefinedDomain, mark: DomainMark | None, edit: Edit, actual: World
) -> tuple[Hazard, ...]:
    differences = edit.differences
    hazards = [Hazard.TAKES_OVER] if mark is None or edit.taken else []
    # The removal of a disk is often a slip in `disks:`, and a guest that is off needs the disk as much.
    named = {disk.image for disk in domain.disks}
    disks = {
        f"/devices/disk:{disk.target}"
        for disk in defined.definition.disks
        if disk.device == "disk" and disk.image not in named
    }
    if any(difference.path in disks and not difference.wanted for difference in differences):
        hazards.append(Hazard.INTERRUPTS_GUEST)
    # Another image or file behind a known target: the guest would boot into other data.
    own = {f"disk:{disk.target}" for disk in domain.disks}
    if moved_disks(defined.definition, edit.document, {monitor.address for monitor in actual.cluster.monitors}, own):
        hazards.append(Hazard.LOSES_DATA)
    return tuple(hazards)
