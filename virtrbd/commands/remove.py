"""The verb `remove`: retire a domain, and move its images to the trash."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click
from msgspec import Struct

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.allow import ALLOW, parse_allowed
from virtrbd.commands.options.domains import FORGET_SNAPSHOTS
from virtrbd.commands.options.types import DURATION_TYPE
from virtrbd.errors import worst
from virtrbd.lazily import lazily
from virtrbd.model.record import replace
from virtrbd.printable import shell_command

with lazily():
    from virtrbd.commands.connected.host import connected
    from virtrbd.commands.connected.named import locked, require, require_released
    from virtrbd.commands.output.report import outcome_line, show_outcome
    from virtrbd.domainxml.defined import DefinedDomain
    from virtrbd.engine.execute import execute
    from virtrbd.engine.perform import perform
    from virtrbd.engine.retire import images_of, removals_of, rest_of
    from virtrbd.images.host import Host
    from virtrbd.model.domain_actions import DropManagedSave, ShutDownDomain
    from virtrbd.model.hazard import Hazard
    from virtrbd.model.image import ImageRef
    from virtrbd.model.plan import DomainPlan, Outcome, Plan, Result
    from virtrbd.planning.retirement import plan_retirement


@verb
@click.argument("name")
@click.option(
    "--delay", type=DURATION_TYPE, default="14d", show_default=True, help="How long its images wait in the trash."
)
@FORGET_SNAPSHOTS
@ALLOW
def remove(run: Run, name: str, delay: float, forget_snapshots: bool, allow: tuple[str, ...]) -> None:
    """Retire a domain, and move its images to the trash.

    The guest is shut down and the domain undefined; each hazard must be allowed with --allow.
    """
    allowed, wanted = parse_allowed(allow), _Wanted(delay_s=delay, forget_snapshots=forget_snapshots)
    outcomes = []
    with connected(run, run.settings(), allowed) as host, _begun(host, name, wanted) as job:
        for outcome in _steps(host, job, wanted):
            show_outcome(run, outcome)
            outcomes.append(outcome)
    done = [outcome_line(outcome) for outcome in outcomes]
    lines = _closing_lines(job, outcomes, allowed)
    run.answer({"name": job.name, "actions": done, "images_left": [str(ref) for ref in job.stay]}, lines)
    run.end(worst(*(outcome.exit_code for outcome in outcomes)))


class _Wanted(Struct, frozen=True, kw_only=True):
    delay_s: float
    forget_snapshots: bool


class _Job(Struct, frozen=True, kw_only=True):
    """A domain to retire, or with None for it the rest of an interrupted retirement.

    `stay`: images that an earlier spec gave the domain.
    """

    name: str
    plan: DomainPlan
    domain: DefinedDomain | None = None
    stay: tuple[ImageRef, ...] = ()


@contextmanager
def _begun(host: Host, name: str, wanted: _Wanted) -> Iterator[_Job]:
    """Yield the job, with the locks of the domain and its images held."""
    retirement = host.state.read_retirement(name)
    if retirement and host.hypervisor.domain(name) is None:
        with host.state.locked([name, *(str(image.ref) for image in retirement.images)], "remove"):
            yield _Job(name=name, plan=rest_of(host, retirement))
        return
    with locked(host, name, "remove") as domain:
        require_released(domain)
        _, stay = images_of(host, domain)
        yield _Job(name=domain.name, plan=_look(host, domain, wanted), domain=domain, stay=tuple(stay))


def _look(host: Host, domain: DefinedDomain, wanted: _Wanted) -> DomainPlan:
    images, _ = images_of(host, domain)
    return plan_retirement(
        domain,
        images,
        host.host_uuid,
        delay_s=wanted.delay_s,
        kept=host.hypervisor.kept(domain.uuid),
        removals=removals_of(host, domain, images, wanted.delay_s),
        forget_snapshots=wanted.forget_snapshots,
    )


def _steps(host: Host, job: _Job, wanted: _Wanted) -> Iterator[Outcome]:
    """Stop the guest, look again, and do the rest: a running guest may hide what its end shows."""
    stops = tuple(action for action in job.plan.actions if isinstance(action, ShutDownDomain | DropManagedSave))
    if job.domain is None or not stops or _missing_hazards(job, host.allowed):
        yield from _executed(host, job.plan)
        return
    for outcome in _executed(host, replace(job.plan, actions=stops)):
        yield outcome
        if outcome.result is not Result.DONE:
            return
    yield from _executed(host, _look(host, require(host, job.domain.uuid), wanted))


def _executed(host: Host, plan: DomainPlan) -> Iterator[Outcome]:
    return execute(Plan(domains=(plan,)), host.allowed, lambda action: perform(action, host))


def _missing_hazards(job: _Job, allowed: frozenset[Hazard]) -> set[Hazard]:
    return {hazard for action in job.plan.actions for hazard in action.hazards} - allowed


def _closing_lines(job: _Job, outcomes: list[Outcome], allowed: frozenset[Hazard]) -> list[str]:
    name = job.name
    lines = [
        f"{name}: image {ref} is kept: an earlier spec gave it to the domain; "
        f"{shell_command('virtrbd image remove', ref)}"
        for ref in job.stay
    ]
    if needed := _missing_hazards(job, allowed):
        flags = ",".join(hazard for hazard in Hazard if hazard in needed | allowed)
        lines.append(
            f"nothing was done; {shell_command('virtrbd remove', name, options=f'--allow {flags}')} does all of it"
        )
    elif all(outcome.exit_code == 0 for outcome in outcomes):
        lines.append(f"{name}: retired; if a spec still names it, the next run makes it again")
    return lines
