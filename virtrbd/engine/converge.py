"""Converge a host: observe, plan, lock, observe again, execute, check the result."""

import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext

from msgspec import Struct

from virtrbd.engine.execute import Perform, execute
from virtrbd.engine.observe import observe
from virtrbd.errors import BusyError, ExitCode, VirtrbdError, worst
from virtrbd.images.host import Host
from virtrbd.lazily import lazily
from virtrbd.local.in_sync_cache import keep_judged, recall_judged
from virtrbd.model.domain import Domain
from virtrbd.model.hazard import Hazard
from virtrbd.model.plan import DomainPlan, Outcome, Plan, Result
from virtrbd.model.record import replace
from virtrbd.planning.plan import make_plan
from virtrbd.planning.policy import Policy

# A run that changes nothing needs none of what changes the world.
with lazily():
    from virtrbd.engine.perform import perform

# Gets each outcome as soon as it may be reported.
ReportOutcome = Callable[[Outcome], None]
# Gets the object of a look and its minimum of seconds: a look that takes too long ends the run, at the time
# (monotonic) that is yielded.
Watched = Callable[[str, float], AbstractContextManager[float]]


class Supervision(Struct, frozen=True, kw_only=True):
    """The supervision of a run: `report` gets each outcome, `check` sees each plan before its actions, and may raise.

    No action is begun once `is_over`; `watched` ends a look that takes too long.
    """

    report: ReportOutcome
    check: Callable[[Plan], None] = lambda _plan: None
    is_over: Callable[[], bool] = lambda: False
    watched: Watched = lambda _what, _least_s: nullcontext(math.inf)

    def reported(self, outcomes: Iterator[Outcome] | Sequence[Outcome]) -> list[Outcome]:
        """Report the outcomes as they come, and return them."""
        found = []
        for outcome in outcomes:
            self.report(outcome)
            found.append(outcome)
        return found


# The result is checked also when the run's deadline is over.
_LAST_LOOK_S = 60.0


class Report(Struct, frozen=True, kw_only=True):
    """What a run found, did, and left. `seconds` by phase."""

    plan: Plan
    outcomes: tuple[Outcome, ...]
    left: Plan
    seconds: dict[str, float]

    @property
    def exit_code(self) -> ExitCode:
        """The worst exit code of the actions."""
        return worst(*(outcome.exit_code for outcome in self.outcomes))


def look(domains: tuple[Domain, ...], policy: Policy, host: Host, ends: float = math.inf) -> Plan:
    """Return what the domains need now; changes nothing. `ends`: when the run is ended (monotonic)."""
    mine = tuple(domain for domain in domains if domain.host == policy.host)
    judged = recall_judged(host.settings)
    actual = observe(mine, host, policy, judged, ends)
    plan = make_plan(domains, actual, policy)
    keep_judged(host.settings, judged, plan)
    return plan


def converge(domains: tuple[Domain, ...], policy: Policy, host: Host, verb: str, supervision: Supervision) -> Report:
    """Bring the domains into line and return the report."""
    began = time.monotonic()
    with supervision.watched("looking at libvirt and Ceph", 0) as ends:
        plan = look(domains, policy, host, ends)
    supervision.check(plan)
    looked = time.monotonic()
    acting = {domain.name for domain in plan.domains if domain.actions}
    outcomes, left = supervision.reported(_without_actions(plan)), plan
    if plan.stopped:
        outcomes += supervision.reported(execute(plan, host.allowed, _performer(host)))
    elif acting:
        with ExitStack() as locks:
            busy = _lock(locks, [domain for domain in domains if domain.name in acting], host, verb)
            outcomes += supervision.reported(busy)
            free = tuple(d for d in domains if d.name in acting and d.name not in {b.domain for b in busy})
            done, left = _act(plan, free, policy, host, supervision)
            outcomes += done
    seconds = {"observe": looked - began, "execute": time.monotonic() - looked}
    return Report(plan=plan, outcomes=tuple(outcomes), left=left, seconds=seconds)


def _act(
    plan: Plan, domains: tuple[Domain, ...], policy: Policy, host: Host, supervision: Supervision
) -> tuple[list[Outcome], Plan]:
    """Look at these domains again under their locks, act, and check the result."""
    narrow = replace(policy, with_orphans=False, limit_percent=None)
    names = {domain.name for domain in domains}
    with supervision.watched("looking again before anything is done", 0) as ends:
        mine = _only(look(domains, narrow, host, ends), names)
    whole = _merged(plan, mine, names)
    supervision.check(whole)
    parallel = host.settings.parallel
    done = supervision.reported(
        execute(mine, host.allowed, _performer(host), parallel=parallel, is_over=supervision.is_over)
    )
    if not any(outcome.result is Result.DONE for outcome in done):
        return done, whole
    try:
        with supervision.watched("checking whether everything is as wanted", _LAST_LOOK_S) as ends:
            again = _only(look(domains, narrow, host, ends), names)
    except VirtrbdError as error:
        return [*done, *supervision.reported(_unseen(error, done))], whole
    return [*done, *supervision.reported(_leftovers(again, done, host.allowed))], _merged(plan, again, names)


def _performer(host: Host) -> Perform:
    return lambda action: perform(action, host)


def _unseen(error: VirtrbdError, outcomes: Sequence[Outcome]) -> Iterator[Outcome]:
    """Report that the result was not checked, for domains in which nothing else went wrong."""
    troubled = {outcome.domain for outcome in outcomes if outcome.exit_code is not ExitCode.OK}
    for name in dict.fromkeys(outcome.domain for outcome in outcomes if outcome.domain not in troubled):
        text = "check whether everything is as wanted"
        yield Outcome(domain=name, text=text, result=Result.UNKNOWN, detail=error.as_line, exit_code=error.exit_code)


def _only(plan: Plan, names: Collection[str]) -> Plan:
    """Return the plan of these domains only: the findings about others were reported."""
    return replace(plan, domains=tuple(domain for domain in plan.domains if domain.name in names))


def _merged(plan: Plan, newer: Plan, names: Collection[str]) -> Plan:
    """Return the plan with these domains as they are in a newer one, to which the others were not shown."""
    by_name = {domain.name: domain for domain in newer.domains if domain.name in names}
    return replace(plan, domains=tuple(by_name.get(domain.name, domain) for domain in plan.domains))


def _without_actions(plan: Plan) -> Iterator[Outcome]:
    """The problems of domains for which nothing can be done, and what is held back."""
    idle = replace(plan, domains=tuple(domain for domain in plan.domains if not domain.actions), stopped="")
    return execute(idle, frozenset(), lambda _action: None)


def _lock(locks: ExitStack, domains: Sequence[Domain], host: Host, verb: str) -> list[Outcome]:
    """Take the locks of the domains and their images; return which are busy, and which have no lock."""
    busy = []
    for domain in domains:
        names = [domain.name, *(str(disk.image) for disk in domain.disks if disk.is_written)]
        names += [str(domain.seed.image)] if domain.seed else []
        try:
            locks.enter_context(host.state.locked(names, verb))
        except BusyError as error:
            busy.append(Outcome(domain=domain.name, text=error.as_line, result=Result.BUSY, exit_code=ExitCode.BUSY))
        except VirtrbdError as error:
            code = error.exit_code
            busy.append(Outcome(domain=domain.name, text=error.as_line, result=Result.FAILED, exit_code=code))
    return busy


def _unread(domain: DomainPlan) -> Iterator[Outcome]:
    """Report the actions of a domain, and that it could not be read afterwards."""
    for failure in domain.failures:
        yield Outcome(
            domain=domain.name,
            text="check whether everything is as wanted",
            result=Result.UNKNOWN,
            detail=failure.text,
            exit_code=failure.exit_code,
            trace=failure.trace,
        )


def _leftovers(plan: Plan, outcomes: Sequence[Outcome], allowed: frozenset[Hazard]) -> Iterator[Outcome]:
    """What is still needed when checked again, in domains in which nothing went wrong: not converged, never done."""
    troubled = {outcome.domain for outcome in outcomes if outcome.result is not Result.DONE}
    done = {(outcome.domain, outcome.text) for outcome in outcomes}
    for domain in plan.domains:
        yield from _unread(domain)
        for action in domain.actions:
            if domain.name in troubled or action.quiet:
                continue
            if (domain.name, action.text) in done:
                result, detail, code = (
                    Result.FAILED,
                    "done, but still needed when checked again (not converged)",
                    ExitCode.FAILED,
                )
            elif missing := action.missing_hazards(allowed):
                result, detail, code = Result.BLOCKED, f"needs --allow {','.join(missing)}", ExitCode.BLOCKED
            else:
                result, detail, code = Result.FAILED, "needed since the first look; run again", ExitCode.FAILED
            yield Outcome(domain=domain.name, text=action.text, result=result, detail=detail, exit_code=code)
