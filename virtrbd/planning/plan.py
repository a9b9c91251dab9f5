"""From desired and actual to a plan. Pure: no I/O, no clock, no randomness, stable order."""

from collections.abc import Iterator, Sequence

from virtrbd.contained import contained
from virtrbd.domainxml.defined import DefinedDomain
from virtrbd.errors import VirtrbdError
from virtrbd.lazily import lazily
from virtrbd.model.domain import Domain
from virtrbd.model.domain_actions import DefineDomain, DefineSecret, SetAutostart, StartDomain
from virtrbd.model.element_path import ElementPath
from virtrbd.model.failure import Failure, failure_of
from virtrbd.model.image_actions import GrowImage, MarkImage
from virtrbd.model.mark import DomainMark, Hold
from virtrbd.model.names import check_new_domain_name
from virtrbd.model.plan import DomainPlan, Finding, FindingKind, Plan
from virtrbd.model.power import PowerState
from virtrbd.model.record import replace
from virtrbd.planning.basis import Basis
from virtrbd.planning.change_limit import too_many
from virtrbd.planning.definition_plan import DefinitionPlan
from virtrbd.planning.images import cdrom_problems, plan_image, rebuild_findings
from virtrbd.planning.orphans import no_xml_finding, others
from virtrbd.planning.policy import Policy
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

_AUTOSTART = ElementPath("autostart")


def make_plan(desired: Sequence[Domain], actual: World, policy: Policy) -> Plan:
    """Return what each desired domain needs, by name, and the findings about the other domains of this host."""
    world = Basis.of(actual, policy)
    plans = [_plan_or_fail(domain, world) for domain in sorted(desired, key=lambda d: d.name)]
    stopped = too_many(plans, policy.limit_percent) if policy.limit_percent is not None else ""
    rest = others(desired, actual, here=policy.host, with_orphans=policy.with_orphans)
    return Plan(
        domains=tuple(sorted([*_once(plans), *rest], key=lambda plan: plan.name)),
        stopped=stopped,
        states=tuple(sorted([*(d.state for d in actual.domains), *(d.state for d in actual.unread_domains)])),
    )


def _once(plans: Sequence[DomainPlan]) -> Iterator[DomainPlan]:
    """The secret is the host's, not a domain's: the first domain that gets so far makes it for all."""
    made = False
    for plan in plans:
        actions = tuple(action for action in plan.actions if not (made and isinstance(action, DefineSecret)))
        made = made or len(actions) < len(plan.actions) or any(isinstance(action, DefineSecret) for action in actions)
        yield plan if len(actions) == len(plan.actions) else replace(plan, actions=actions)


def _plan_or_fail(domain: Domain, world: Basis) -> DomainPlan:
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


def _plan_domain(domain: Domain, world: Basis) -> DomainPlan:
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
    world: Basis,
    *,
    is_judged: bool,
) -> DomainPlan:
    """Return what images, definition, guest and power need, in that order."""
    actual, policy = world.actual, world.policy
    images = [plan_image(domain, disk, defined, actual) for disk in domain.disks]
    images.append(plan_seed(domain, defined, actual))
    definition = DefinitionPlan() if is_judged else plan_definition(domain, defined, mark, world)
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
    actions = [*world.secret.actions, *(action for image in images for action in image.actions), *definition.actions]
    is_ignored = mark is not None and _AUTOSTART in mark.ignored
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
        path = ElementPath.of_device(f"disk:{disk.target}")
        if is_ignored(path, mark.ignored) and held.get(disk.target) != disk.image:
            text = (
                f"{path} is ignored, so {disk.image}, which the spec puts there, is not attached; give it another "
                f"target, or {shell_command('virtrbd ignore --undo', domain.name, path)}"
            )
            # Without the slash, as in older reports: with it, report_once would report it again.
            yield Finding(domain=domain.name, kind=FindingKind.FOREIGN, subject=path.text, text=text)


def _held_finding(domain: Domain, hold: Hold) -> Finding:
    until = f" until {_time(hold.until)}" if hold.until is not None else ""
    text = f"left alone{until}{hold.reason_text}; {shell_command('virtrbd release', domain.name)} ends that"
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
