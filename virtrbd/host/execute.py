"""A plan carried out: in order, domain by domain; a failure stops that domain only."""

from collections.abc import Callable, Iterator

from virtrbd.errors import BlockedError, ExitCode, UnavailableError, VirtrbdError
from virtrbd.model.plan import Action, DomainPlan, Hazard, Outcome, Plan, Result, StartDomain


def execute(plan: Plan, allowed: frozenset[Hazard], perform: Callable[[Action], None]) -> Iterator[Outcome]:
    """Yield what became of each action, as it happens."""
    for domain in plan.domains:
        yield from _execute_domain(domain, allowed, perform)


def _execute_domain(
    plan: DomainPlan, allowed: frozenset[Hazard], perform: Callable[[Action], None]
) -> Iterator[Outcome]:
    for problem in plan.problems:
        yield Outcome(domain=plan.name, text=problem, result=Result.FAILED, exit_code=ExitCode.SPEC)
    # A start stands at the end and nothing builds on it; any other action that may not be done holds back the whole
    # domain from the first step on: a foreign domain must not get our images before it refuses our definition.
    stopped = any(_missing(action, allowed) for action in plan.actions if not isinstance(action, StartDomain))
    for action in plan.actions:
        if missing := _missing(action, allowed):
            yield _outcome(plan, action, Result.BLOCKED, f"needs --allow {','.join(missing)}", ExitCode.BLOCKED)
        elif stopped:
            yield _outcome(plan, action, Result.NOT_TRIED, "", ExitCode.OK)
        else:
            outcome = _perform(plan, action, perform)
            stopped = outcome.result is not Result.DONE
            yield outcome


def _missing(action: Action, allowed: frozenset[Hazard]) -> list[Hazard]:
    return [hazard for hazard in action.hazards if hazard not in allowed]


def _perform(plan: DomainPlan, action: Action, perform: Callable[[Action], None]) -> Outcome:
    try:
        perform(action)
    except BlockedError as error:
        return _outcome(plan, action, Result.BLOCKED, str(error), error.exit_code)
    except UnavailableError as error:
        return _outcome(plan, action, Result.UNKNOWN, str(error), error.exit_code)
    except VirtrbdError as error:
        return _outcome(plan, action, Result.FAILED, str(error), error.exit_code)
    return _outcome(plan, action, Result.DONE, "", ExitCode.OK)


def _outcome(plan: DomainPlan, action: Action, result: Result, detail: str, code: ExitCode) -> Outcome:
    return Outcome(domain=plan.name, text=action.text, result=result, detail=detail, quiet=action.quiet, exit_code=code)
