"""From desired and actual to a plan. Pure: no I/O, no clock, no randomness, stable order."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Self

from msgspec import Struct

from virtrbd.contained import contained
from virtrbd.domainxml.defined import DefinedDomain
from virtrbd.errors import VirtrbdError
from virtrbd.lazily import lazily
from virtrbd.model.actions import Action
from virtrbd.model.cluster import Secret
from virtrbd.model.domain import Domain
from virtrbd.model.domain_actions import DefineDomain, DefineSecret, SetAutostart, StartDomain
from virtrbd.model.failure import Failure, failure_of
from virtrbd.model.image_actions import GrowImage, MarkImage
from virtrbd.model.mark import DomainMark, Hold
from virtrbd.model.names import check_new_domain_name
from virtrbd.model.plan import DomainPlan, Finding, FindingKind, Plan
from virtrbd.model.power import PowerState
from virtrbd.model.record import replace
from virtrbd.planning.change_limit import too_many
from virtrbd.planning.definition_plan import DefinitionPlan
from virtrbd.planning.fingerprints import common_digest, documents_digest, inputs_digest
from virtrbd.planning.images import cdrom_problems, plan_image, rebuild_findings
from virtrbd.planning.orphans import no_xml_finding, others
from virtrbd.planning.power import plan_power, stale_save_of
from virtrbd.planning.seeds import plan_seed
from virtrbd.planning.shared_images import shared_images
from virtrbd.planning.two_writers import two_writers
from virtrbd.planning.world import World
from virtrbd.printable import shell_command

# What was judged before needs neither lxml nor Jinja2.
with lazily():
    from virtrbd.domainxml.ignoring import is_ignored
    from virtrbd.planning.definition import plan_definition

_SECRETS = uuid.UUID("0d9f6c4e-9d0b-5b52-8a55-1f4c7b7c0a37")


class Policy(Struct, frozen=True, kw_only=True):
    """What this run may do besides bringing definitions into line.

    `start`: every domain should run. `by_spec`: apply the specs' `state`. `with_orphans`: these are all specs of the
    host, so virtrbd's domains without a spec are reported. `limit_percent`: the most existing domains that may change;
    None for no limit.
    """

    host: str
    start: bool = False
    template_dir: str = ""
    by_spec: bool = False
    with_orphans: bool = False
    limit_percent: int | None = None


def secret_uuid_for(usage: str) -> str:
    """Return the secret's UUID: from the cluster's fsid and the user, so that all hosts agree."""
    return str(uuid.uuid5(_SECRETS, usage))


class _Basis(Struct, frozen=True, kw_only=True):
    """What the plan of one domain needs to know of all."""

    actual: World
    policy: Policy
    secret_uuid: str
    secret_actions: tuple[Action, ...]
    common: str
    by_uuid: Mapping[str, DefinedDomain]
    by_name: Mapping[str, DefinedDomain]

    @classmethod
    def of(cls, actual: World, policy: Policy) -> Self:
        """Return the world, indexed once."""
        secret_uuid, actions = plan_secret(actual)
        return cls(
            actual=actual,
            policy=policy,
            secret_uuid=secret_uuid,
            secret_actions=tuple(actions),
            common=common_digest(actual, secret_uuid, policy.template_dir),
            by_uuid={found.uuid: found for found in actual.domains},
            by_name={found.name: found for found in actual.domains},
        )

    def held(self, domain: Domain) -> DefinedDomain | None:
        """Return the domain as libvirt holds it: by its UUID, else by its name."""
        return self.by_uuid.get(domain.uuid) or self.by_name.get(domain.name)

    def documents(self, domain: Domain, defined: DefinedDomain) -> str:
        """Return the digest of a domain's documents."""
        return documents_digest(inputs_digest(domain, defined.uuid, self.actual, self.common), defined)

    def is_judged(self, defined: DefinedDomain | None) -> bool:
        """Whether an earlier run compared these very documents, and found nothing to do and nothing to report.

        A running domain that was undefined still shows the same two.
        """
        return defined is not None and defined.persistent and defined.uuid in self.actual.judged


def make_plan(desired: Sequence[Domain], actual: World, policy: Policy) -> Plan:
    """Return what each desired domain needs, by name, and the findings about the other domains of this host."""
    world = _Basis.of(actual, policy)
    plans = [_plan_or_fail(domain, world) for domain in sorted(desired, key=lambda d: d.name)]
    stopped = too_many(plans, policy.limit_percent) if policy.limit_percent is not None else ""
    rest = others(desired, actual, here=policy.host, with_orphans=policy.with_orphans)
    return Plan(
        domains=tuple(sorted([*_once(plans), *rest], key=lambda plan: plan.name)),
        stopped=stopped,
        states=tuple(sorted([*(d.state for d in actual.domains), *(d.state for d in actual.unread_domains)])),
    )


def still_judged(desired: Sequence[Domain], actual: World, policy: Policy, judged: Mapping[str, str]) -> dict[str, str]:
    """Return the results of earlier comparisons that are still valid for the documents as they are now."""
    world = _Basis.of(actual, policy)
    held = [(domain, defined) for domain in desired if (defined := world.held(domain)) and defined.uuid in judged]
    return {
        defined.uuid: judged[defined.uuid]
        for domain, defined in held
        if judged[defined.uuid] == world.documents(domain, defined)
    }


def unjudged(desired: Sequence[Domain], actual: World, policy: Policy) -> tuple[Domain, ...]:
    """Return the domains of this host whose documents must be compared: more must be read of these."""
    world = _Basis.of(actual, policy)
    return tuple(d for d in desired if d.host == policy.host and not world.is_judged(world.held(d)))


def _once(plans: Sequence[DomainPlan]) -> Iterator[DomainPlan]:
    """The secret is the host's, not a domain's: the first domain that gets so far makes it for all."""
    made = False
    for plan in plans:
        actions = tuple(action for action in plan.actions if not (made and isinstance(action, DefineSecret)))
        made = made or len(actions) < len(plan.actions) or any(isinstance(action, DefineSecret) for action in actions)
        yield plan if len(actions) == len(plan.actions) else replace(plan, actions=actions)


def _plan_or_fail(domain: Domain, world: _Basis) -> DomainPlan:
    """Return what the domain needs; an odd domain fails alone (law 12)."""
    policy = world.policy
    if domain.host != policy.host:
        return DomainPlan(name=domain.name, note=f"belongs to host {domain.host}; left alone on {policy.host}")
    try:
        with contained(f"planning domain {domain.name}"):
            if unread := tuple(_unread(domain, world.actual)):
                return DomainPlan(name=domain.name, failures=unread)
            if (held := world.held(domain)) and (twice := tuple(two_writers(domain, held, world.actual, policy.host))):
                return DomainPlan(name=domain.name, failures=twice, uuid=held.uuid, exists=True)
            return _plan_domain(domain, world)
    except VirtrbdError as error:
        return DomainPlan(name=domain.name, failures=(failure_of(error),))


def _unread(domain: Domain, actual: World) -> Iterator[Failure]:
    """Yield why the domain, or an image of it, is unknown: what cannot be read is not absent."""
    images = actual.unread_images
    named = [disk.image.image for disk in domain.disks] + ([domain.seed.image] if domain.seed else [])
    named += [disk.clone for disk in domain.disks if disk.clone]
    named += [cdrom.image.image for cdrom in domain.cdroms if cdrom.image]
    yield from (held.failure for held in actual.unread_domains if domain.uuid == held.uuid or domain.name == held.name)
    yield from (images[ref] for ref in dict.fromkeys(named) if ref in images)


def _plan_domain(domain: Domain, world: _Basis) -> DomainPlan:
    defined = world.held(domain)
    is_judged = world.is_judged(defined)
    if defined and defined.uuid != domain.uuid:
        domain = replace(domain, uuid=defined.uuid)
    is_other = defined is not None and defined.autostart != domain.autostart
    # What was judged before needs neither lxml nor Jinja2, here and below.
    mark = defined.definition.mark if defined and (is_other or not is_judged) else None
    if mark and mark.hold and mark.hold.holds_at(world.actual.now):
        return DomainPlan(name=domain.name, findings=(_held_finding(domain, mark.hold),), uuid=domain.uuid, exists=True)
    plan = _plan_all(domain, defined, mark, world, is_judged=is_judged)
    if defined and defined.state is PowerState.SAVED:
        plan = _around_managed_save(domain, plan, stale_save_of(domain, defined, world.actual))
    if defined is None or plan.actions or plan.problems or plan.findings or plan.held_back:
        return plan
    judged = world.actual.judged[defined.uuid] if is_judged else world.documents(domain, defined)
    return replace(plan, judged=judged)


def _plan_all(
    domain: Domain,
    defined: DefinedDomain | None,
    mark: DomainMark | None,
    world: _Basis,
    *,
    is_judged: bool,
) -> DomainPlan:
    """Return what images, definition, guest and power need, in that order."""
    actual, policy = world.actual, world.policy
    images = [plan_image(domain, disk, defined, actual) for disk in domain.disks]
    images.append(plan_seed(domain, defined, actual))
    definition = DefinitionPlan() if is_judged else _plan_definition(domain, defined, mark, world)
    marked = frozenset(a.ref for image in images for a in image.actions if isinstance(a, MarkImage))
    power = plan_power(domain, defined, actual, marked=marked, start=policy.start, by_spec=policy.by_spec)
    problems = (
        *_misfits(domain, defined, mark),
        *shared_images(domain, actual.uses),
        *(problem for image in images for problem in image.problems),
        *cdrom_problems(domain, actual),
        *definition.problems,
    )
    failures = tuple(failure for image in images for failure in image.failures)
    actions = [*world.secret_actions, *(action for image in images for action in image.actions), *definition.actions]
    is_ignored = mark is not None and "autostart" in mark.ignored
    if (defined.autostart if defined else False) != domain.autostart and not is_ignored:
        actions.append(SetAutostart(domain_uuid=domain.uuid, autostart=domain.autostart))
    return DomainPlan(
        name=domain.name,
        actions=() if problems or failures else (*actions, *power.actions),
        problems=problems,
        failures=failures,
        lints=definition.lints,
        findings=(
            *definition.findings,
            *_not_xml(domain, defined, definition, is_judged=is_judged),
            *_ignored_disks(domain, defined, mark),
            *rebuild_findings(domain, actual),
            *power.findings,
        ),
        uuid=domain.uuid,
        exists=is_judged or mark is not None,
    )


def _plan_definition(
    domain: Domain, defined: DefinedDomain | None, mark: DomainMark | None, world: _Basis
) -> DefinitionPlan:
    actual, template_dir = world.actual, world.policy.template_dir
    inputs = inputs_digest(domain, domain.uuid, actual, world.common)
    return plan_definition(domain, defined, mark, inputs, world.secret_uuid, actual, template_dir)


def _not_xml(
    domain: Domain, defined: DefinedDomain | None, definition: DefinitionPlan, *, is_judged: bool
) -> Iterator[Finding]:
    """Yield the finding that libvirt could not read the definition again, unless it is written again now."""
    is_written = any(isinstance(action, DefineDomain) for action in definition.actions)
    if defined and not is_judged and not is_written and (finding := no_xml_finding(domain.name, defined)):
        yield finding


def _ignored_disks(domain: Domain, defined: DefinedDomain | None, mark: DomainMark | None) -> Iterator[Finding]:
    """Yield the spec's disks that no run attaches: their path is ignored, and holds another image."""
    if defined is None or mark is None or not mark.ignored:
        return
    held = {disk.target: disk.image for disk in defined.definition.disks}
    for disk in domain.disks:
        path = f"devices/disk:{disk.target}"
        if is_ignored(path, mark.ignored) and held.get(disk.target) != disk.image:
            text = (
                f"/{path} is ignored, so {disk.image}, which the spec puts there, is not attached; give it another "
                f"target, or {shell_command('virtrbd ignore --undo', domain.name, f'/{path}')}"
            )
            yield Finding(domain=domain.name, kind=FindingKind.FOREIGN, subject=path, text=text)


def _held_finding(domain: Domain, hold: Hold) -> Finding:
    until = f" until {_time(hold.until)}" if hold.until is not None else ""
    text = f"left alone{until}{hold.why_told}; {shell_command('virtrbd release', domain.name)} ends that"
    return Finding(domain=domain.name, kind=FindingKind.HELD, text=text)


def _time(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _around_managed_save(domain: Domain, plan: DomainPlan, stale: str) -> DomainPlan:
    """Return the plan of a domain that is off but holds memory: what would change under that memory waits."""
    text = stale or f"off, and holds the guest's memory; {shell_command('virtrbd start', domain.name)} resumes it"
    finding = Finding(domain=domain.name, kind=FindingKind.SAVED, text=text)
    waiting = [a for a in plan.actions if not (a.quiet or isinstance(a, StartDomain | SetAutostart | DefineSecret))]
    if not waiting:
        return replace(plan, findings=(*plan.findings, finding))
    grown = " and the images" if any(isinstance(action, GrowImage) for action in waiting) else ""
    reason = (
        f"{'; '.join(action.text for action in waiting)}: waits, because the domain holds a managed save, to which its "
        f"own definition{grown} belong; start it to resume, or drop the save with "
        f"{shell_command('virsh managedsave-remove', domain.name)}"
    )
    return replace(plan, actions=(), findings=(*plan.findings, finding), held_back=(reason,))


def _misfits(domain: Domain, defined: DefinedDomain | None, mark: DomainMark | None) -> tuple[str, ...]:
    """Return why what libvirt holds under this name or UUID can't be the domain. virtrbd's own, undefined, can."""
    if defined and defined.name != domain.name:
        message = f"renamed to {defined.name} (UUID {domain.uuid}); rename it back with virsh domrename, or the spec"
        return (f"{domain.origin}: {domain.name}: {message}",)
    if defined and not defined.persistent and mark is None:
        return (f"{domain.origin}: {domain.name}: a transient domain of that name runs; stop it, or rename",)
    if defined is None:
        try:
            check_new_domain_name(domain.name)
        except ValueError as error:
            return (f"{domain.origin}: name: {error}",)
    return ()


def plan_secret(actual: World) -> tuple[str, list[Action]]:
    """Return the UUID of the secret to use, and the action that makes it.

    A secret of others for the same user is used as it is: libvirt refuses a second secret with the same usage name. A
    cluster without cephx needs none.
    """
    if not actual.cluster.cephx:
        return "", []
    usage = actual.cluster.secret_usage
    ours = secret_uuid_for(usage)

    def usable(secret: Secret) -> bool:
        return secret.uuid == ours or secret.usage == usage or secret.holds_key

    candidates = sorted(filter(usable, actual.secrets), key=lambda s: (s.uuid != ours, s.usage != usage, s.uuid))
    if candidates and (candidates[0].is_set or candidates[0].uuid != ours):
        return candidates[0].uuid, []
    return ours, [DefineSecret(uuid=ours, usage=usage)]
