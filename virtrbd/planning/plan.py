"""From desired and actual to a plan. Pure: no I/O, no clock, no randomness, stable order."""

import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from virtrbd import __version__
from virtrbd.domainxml.edit import edit_definition, new_definition
from virtrbd.domainxml.mark import definition_digest, read_mark
from virtrbd.domainxml.parse import parse_disks
from virtrbd.domainxml.stated import stated_paths
from virtrbd.domainxml.templates import templates_digest
from virtrbd.model.actual import Actual, Secret
from virtrbd.model.digest import digest_of
from virtrbd.model.domain import DefinedDomain, Domain, DomainMark, PowerState
from virtrbd.model.lint import Lint
from virtrbd.model.plan import (
    Action,
    DefineDomain,
    DefineSecret,
    Difference,
    DomainPlan,
    Hazard,
    Plan,
    RenewMark,
    SetAutostart,
    StartDomain,
)
from virtrbd.planning.images import ImagePlan, cdrom_problems, plan_image
from virtrbd.planning.machines import capabilities_key

# A disk of another type had another source; what stands in a CD-ROM drive may change at any time.
_OTHER_IMAGE = ("source/@name", "@type")
_SECRETS = uuid.UUID("0d9f6c4e-9d0b-5b52-8a55-1f4c7b7c0a37")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What this run may do besides bringing definitions into line."""

    host: str
    start: bool = False
    template_dir: str = ""


def secret_uuid_for(usage: str) -> str:
    """Return the secret's UUID: from the cluster's fsid and the user, so that all hosts agree."""
    return str(uuid.uuid5(_SECRETS, usage))


def make_plan(desired: Sequence[Domain], actual: Actual, policy: Policy) -> Plan:
    """Return what each desired domain needs, by name."""
    plans = [_plan_domain(domain, actual, policy) for domain in sorted(desired, key=lambda d: d.name)]
    return Plan(domains=tuple(_once(plans)))


def _once(plans: Sequence[DomainPlan]) -> Iterator[DomainPlan]:
    """The secret is the host's, not a domain's: the first domain that gets further makes it for all."""
    made = False
    for plan in plans:
        actions = tuple(action for action in plan.actions if not (made and isinstance(action, DefineSecret)))
        made = made or len(actions) < len(plan.actions) or any(isinstance(action, DefineSecret) for action in actions)
        yield replace(plan, actions=actions)


def _plan_domain(domain: Domain, actual: Actual, policy: Policy) -> DomainPlan:
    if domain.host != policy.host:
        return DomainPlan(name=domain.name, note=f"belongs to host {domain.host}; left alone on {policy.host}")
    defined, problems = _find(domain, actual)
    if defined:
        domain = replace(domain, uuid=defined.uuid)
    problems += _shared_images(domain, actual)
    secret_uuid, actions = plan_secret(actual)
    for disk in domain.disks:
        planned: ImagePlan = plan_image(domain, disk, defined, actual)
        actions += planned.actions
        problems += planned.problems
    problems += cdrom_problems(domain, actual)
    definition = _plan_definition(domain, defined, secret_uuid, actual, policy.template_dir)
    actions += definition.actions
    problems += definition.problems
    if (defined.autostart if defined else False) != domain.autostart:
        actions.append(SetAutostart(domain_uuid=domain.uuid, autostart=domain.autostart))
    if policy.start and not (defined and defined.state.is_active):
        actions.append(StartDomain(domain_uuid=domain.uuid, hazards=start_hazards(domain, actual)))
    if problems:
        return DomainPlan(name=domain.name, problems=tuple(problems), lints=definition.lints)
    is_paused = policy.start and defined is not None and defined.state is PowerState.PAUSED
    note = f"is paused; virsh resume {domain.name} lets it go on" if is_paused else ""
    return DomainPlan(name=domain.name, actions=tuple(actions), lints=definition.lints, note=note)


def start_hazards(domain: Domain, actual: Actual) -> tuple[Hazard, ...]:
    """A start where another host was last, and never said that it stopped, takes over from it.

    No watcher is no proof of death: a frozen client loses its watch and may come back.
    """
    images = [actual.images.get(disk.image.image) for disk in domain.disks if disk.is_written]
    elsewhere = any(image and image.running_on not in ("", actual.host_uuid) for image in images)
    return (Hazard.TAKES_OVER,) if elsewhere else ()


def _find(domain: Domain, actual: Actual) -> tuple[DefinedDomain | None, list[str]]:
    """Return the domain as libvirt holds it: by its UUID, else by its name."""
    by_uuid = next((found for found in actual.domains if found.uuid == domain.uuid), None)
    by_name = next((found for found in actual.domains if found.name == domain.name), None)
    if by_uuid and by_uuid.name != domain.name:
        message = f"renamed to {by_uuid.name} (UUID {domain.uuid}); rename it back with virsh domrename, or the spec"
        return by_uuid, [f"{domain.origin}: {domain.name}: {message}"]
    found = by_uuid or by_name
    if found and not found.persistent:
        return found, [f"{domain.origin}: {domain.name}: a transient domain of that name runs; stop it, or rename"]
    return found, []


def _shared_images(domain: Domain, actual: Actual) -> list[str]:
    """Name the images that another domain of this host writes to already: two writers destroy a disk."""
    problems = []
    for disk in domain.disks:
        # A look at the text spares parsing the XML of every domain; what XML escapes is not found that way.
        source = re.split("[<>&'\"]", disk.image.path)[0]
        for other in actual.domains:
            if not disk.is_written or other.uuid == domain.uuid or source not in other.definition:
                continue
            if any(theirs.is_written and theirs.image == disk.image for theirs in parse_disks(other.definition)):
                problems.append(
                    f"{domain.origin}: disk {disk.target}: image {disk.image} is already written by domain "
                    f"{other.name}; give it an image of its own, or write readonly or shareable in both"
                )
    return problems


def plan_secret(actual: Actual) -> tuple[str, list[Action]]:
    """Return the UUID of the secret to use, and the action that makes it.

    A foreign secret for the same user is used as it is: libvirt refuses a second one with the same usage name.
    """
    usage = actual.cluster.secret_usage
    ours = secret_uuid_for(usage)

    def usable(secret: Secret) -> bool:
        return secret.uuid == ours or secret.usage == usage or secret.holds_key

    candidates = sorted(filter(usable, actual.secrets), key=lambda s: (s.uuid != ours, s.usage != usage, s.uuid))
    if candidates and (candidates[0].is_set or candidates[0].uuid != ours):
        return candidates[0].uuid, []
    return ours, [DefineSecret(uuid=ours, usage=usage)]


def _inputs_digest(domain: Domain, actual: Actual, secret_uuid: str, template_dir: str) -> str:
    parts = (
        domain.digest,
        templates_digest(template_dir),
        __version__,
        actual.hypervisor_digest,
        repr(actual.cluster),
        secret_uuid,
        repr(_cache_options(domain, actual)),
    )
    return digest_of(*parts, domain.uuid)


def _cache_options(domain: Domain, actual: Actual) -> list[tuple[str, str, str]]:
    """Return what images and pools say of librbd's cache: set later, it must bring its lint up all the same."""
    found = []
    for disk in domain.disks:
        image = actual.images.get(disk.image.image)
        for where, config in (
            (str(disk.image.image), image.config if image else {}),
            (disk.image.pool, actual.pool_config.get(disk.image.pool, {})),
        ):
            found += [(where, key, value) for key, value in sorted(config.items()) if key.startswith("rbd_cache")]
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _DefinitionPlan:
    """What a definition needs, and what was found when it was rendered anew."""

    actions: tuple[Action, ...] = ()
    problems: tuple[str, ...] = ()
    lints: tuple[Lint, ...] = ()


def _plan_definition(
    domain: Domain, defined: DefinedDomain | None, secret_uuid: str, actual: Actual, template_dir: str
) -> _DefinitionPlan:
    inputs = _inputs_digest(domain, actual, secret_uuid, template_dir)
    mark = read_mark(defined.definition) if defined else None
    if defined and mark and (mark.inputs, mark.definition) == (inputs, definition_digest(defined.definition)):
        return _DefinitionPlan()
    # Here, not above: a run in which nothing changed needs no Jinja2, and fits nothing.
    from virtrbd.domainxml.document import render_document
    from virtrbd.fitting.fit import fit

    capabilities = actual.capabilities.get(capabilities_key(domain, defined))
    if capabilities is None:
        return _DefinitionPlan(problems=(_unknown_machine(domain, defined),))
    if domain.machine_upgrade:
        # An alias would be held to mean the version that libvirt chose at the first define.
        domain = replace(domain, machine=capabilities.machine)
    fitted = fit(domain, capabilities, actual.images, actual.pool_config)
    if fitted.problems:
        return _DefinitionPlan(problems=fitted.problems, lints=fitted.lints)
    document = render_document(fitted.fitted, actual.cluster, secret_uuid, template_dir)
    if document.problems:
        return _DefinitionPlan(problems=document.problems, lints=fitted.lints)
    found = _plan_rendered(domain, defined, document.xml, inputs, mark, actual)
    return replace(found, lints=fitted.lints)


def _unknown_machine(domain: Domain, defined: DefinedDomain | None) -> str:
    hypervisor, machine = capabilities_key(domain, defined)
    way_out = "write another machine or hypervisor"
    if machine != domain.machine:
        way_out = "write machine_upgrade: true, or use a QEMU that has it"
    return (
        f"{domain.origin}: {domain.name}: libvirt knows no machine {machine} with hypervisor {hypervisor} here "
        f"(virsh domcapabilities --virttype {hypervisor} --machine {machine}); {way_out}"
    )


def _plan_rendered(
    domain: Domain,
    defined: DefinedDomain | None,
    rendered: str,
    inputs: str,
    mark: DomainMark | None,
    actual: Actual,
) -> _DefinitionPlan:
    new_mark = DomainMark(uuid=domain.uuid, host=actual.host_uuid, inputs=inputs, stated=stated_paths(rendered))
    if not defined:
        xml = new_definition(rendered, new_mark)
        return _DefinitionPlan(actions=(DefineDomain(domain_uuid=domain.uuid, xml=xml, inputs=inputs),))
    edit = edit_definition(defined.definition, rendered, mark, new_mark)
    if mark and not edit.differences:
        return _DefinitionPlan(actions=(RenewMark(domain_uuid=domain.uuid, inputs=inputs, stated=new_mark.stated),))
    if defined.state is PowerState.SAVED:
        problem = (
            f"{domain.origin}: {domain.name} holds a managed save, whose own definition is in force; "
            f"start it to resume, or drop the save with virsh managedsave-remove, then define again"
        )
        return _DefinitionPlan(problems=(problem,))
    action = DefineDomain(
        domain_uuid=domain.uuid,
        xml=edit.xml,
        inputs=inputs,
        based_on=defined.definition,
        differences=_with_images(edit.differences, defined),
        pending=defined.state.is_active and bool(edit.differences),
        hazards=_edit_hazards(domain, mark, edit.differences),
    )
    return _DefinitionPlan(actions=(action,))


def _with_images(differences: Sequence[Difference], defined: DefinedDomain) -> tuple[Difference, ...]:
    """Name the images that disks leave behind: they stay, and nobody else would tell which they were."""
    images = {f"/devices/disk:{disk.target}": disk.image for disk in parse_disks(defined.definition) if disk.image}
    return tuple(
        replace(difference, found=f"{images[difference.path]}, an image that stays")
        if difference.path in images and not difference.wanted
        else difference
        for difference in differences
    )


def _edit_hazards(domain: Domain, mark: DomainMark | None, differences: Sequence[Difference]) -> tuple[Hazard, ...]:
    hazards = [] if mark else [Hazard.TAKES_OVER]
    # Another image behind a known target: the guest would boot into somebody else's data.
    sources = {f"/devices/disk:{disk.target}/{end}" for disk in domain.disks for end in _OTHER_IMAGE}
    if any(difference.path in sources for difference in differences):
        hazards.append(Hazard.LOSES_DATA)
    return tuple(hazards)
