"""Observe, plan, execute, look again: the one pipeline behind the verbs that change something."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

import click

from virtrbd.ceph.cluster import Cluster
from virtrbd.commands.app import Run
from virtrbd.errors import ExitCode, UsageError, worst
from virtrbd.host.execute import execute
from virtrbd.host.hypervisor import Hypervisor
from virtrbd.host.observe import observe
from virtrbd.host.perform import Host, perform
from virtrbd.host.state import StateDir
from virtrbd.model.domain import Domain
from virtrbd.model.plan import Hazard, Outcome, Plan, Result
from virtrbd.model.settings import Settings
from virtrbd.planning.plan import Policy, make_plan


def parse_allowed(words: Sequence[str]) -> frozenset[Hazard]:
    """Return the hazards that `--allow A,B` names. Raises UsageError."""
    try:
        return frozenset(Hazard(part) for word in words for part in word.split(",") if part)
    except ValueError as error:
        raise UsageError(f"--allow: {error}; write {', '.join(Hazard)}") from None


@contextmanager
def connected(run: Run, settings: Settings, allowed: frozenset[Hazard] = frozenset()) -> Iterator[Host]:
    """Connect to libvirt and Ceph, and disconnect at the end."""
    with Hypervisor.connect(settings) as hypervisor, Cluster.connect(settings) as cluster:
        yield Host(
            hypervisor=hypervisor,
            cluster=cluster,
            state=StateDir(settings.state_dir),
            settings=settings,
            host_uuid=hypervisor.host_uuid(),
            allowed=allowed,
            say=run.say,
            progress=lambda _done, _total: None,
        )


def converge(run: Run, domains: tuple[Domain, ...], policy: Policy, host: Host, verb: str) -> ExitCode:
    """Bring the domains into line, print what was done, and return the run's exit code."""
    mine = tuple(domain for domain in domains if domain.host == policy.host)
    locks = [domain.name for domain in mine]
    locks += [str(disk.image) for domain in mine for disk in domain.disks if disk.is_written]
    locks += [str(domain.seed.image) for domain in mine if domain.seed]
    with host.state.locked(locks, verb):
        plan = _plan(domains, policy, host)
        _tell_lints(run, plan)
        outcomes = []
        for outcome in execute(plan, host.allowed, lambda action: perform(action, host)):
            outcomes.append(outcome)
            _tell(run, outcome)
        if any(outcome.result is Result.DONE for outcome in outcomes):
            outcomes += _leftovers(_plan(domains, policy, host), outcomes)
    code = worst(*(outcome.exit_code for outcome in outcomes))
    _answer(run, plan, outcomes, code)
    return code


def _plan(domains: tuple[Domain, ...], policy: Policy, host: Host) -> Plan:
    mine = tuple(domain for domain in domains if domain.host == policy.host)
    return make_plan(domains, observe(mine, host.hypervisor, host.cluster, host.state), policy)


def _leftovers(plan: Plan, outcomes: Sequence[Outcome]) -> Iterator[Outcome]:
    """What a second look still wants, of domains in which nothing went wrong: not converged, never done."""
    troubled = {outcome.domain for outcome in outcomes if outcome.result is not Result.DONE}
    for domain in plan.domains:
        for action in domain.actions:
            if domain.name not in troubled and not action.quiet:
                detail = "done, but a second look wants it again"
                yield Outcome(
                    domain=domain.name, text=action.text, result=Result.FAILED, detail=detail, exit_code=ExitCode.FAILED
                )


def _tell_lints(run: Run, plan: Plan) -> None:
    """Lints come when a definition is rendered anew, so a run that changes nothing is silent."""
    for domain in plan.domains:
        for lint in domain.lints:
            if not run.is_json:
                run.say(str(lint))


def _tell(run: Run, outcome: Outcome) -> None:
    if run.is_json or outcome.quiet:
        return
    to_stderr = outcome.result is not Result.DONE
    click.echo(outcome_line(outcome), err=to_stderr)


def outcome_line(outcome: Outcome) -> str:
    """Return the line an operator reads: what, what became of it, why."""
    word = "" if outcome.result is Result.DONE else f"{outcome.result.value.upper()}: "
    return f"{outcome.domain}: {word}{outcome.text}" + (f": {outcome.detail}" if outcome.detail else "")


def _answer(run: Run, plan: Plan, outcomes: Sequence[Outcome], code: ExitCode) -> None:
    loud = {outcome.domain for outcome in outcomes if not outcome.quiet}
    lines = [f"{domain.name}: {domain.note or 'nothing to do'}" for domain in plan.domains if domain.name not in loud]
    data = {
        "domains": [
            {
                "name": domain.name,
                "note": domain.note,
                "lints": [asdict(lint) for lint in domain.lints],
                "actions": [
                    {"text": o.text, "result": o.result.value, "detail": o.detail}
                    for o in outcomes
                    if o.domain == domain.name and not o.quiet
                ],
            }
            for domain in plan.domains
        ],
        "exit_code": int(code),
    }
    run.answer(data, lines)
