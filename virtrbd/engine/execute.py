"""Execute a plan: each domain in order, several domains at a time; a failure stops that domain only."""

import signal
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

from msgspec import Struct

from virtrbd.contained import contained
from virtrbd.deadline import abandon
from virtrbd.ending import EndedError, asking, obey
from virtrbd.errors import (
    BlockedError,
    DefectError,
    ExitCode,
    NotDoneError,
    NotLiveError,
    UnavailableError,
    VirtrbdError,
)
from virtrbd.model.actions import Action
from virtrbd.model.base_action import BaseAction
from virtrbd.model.domain_actions import DefineSecret
from virtrbd.model.failure import failure_of
from virtrbd.model.hazard import Hazard
from virtrbd.model.image import ImageRef
from virtrbd.model.plan import DomainPlan, Outcome, Plan, Result
from virtrbd.model.record import replace

Perform = Callable[[Action], None]
A = TypeVar("A", bound=BaseAction)

# As long as most calls to Ceph may take.
_ENDS_WITHIN_S = 10.0


class _Terms(Struct, frozen=True, kw_only=True):
    """What `execute` is asked for, for all actions of a run."""

    allowed: frozenset[Hazard]
    is_over: Callable[[], bool] = lambda: False
    whole: bool = False


def execute(
    plan: Plan,
    allowed: frozenset[Hazard],
    perform: Perform,
    *,
    parallel: int = 1,
    is_over: Callable[[], bool] = lambda: False,
    whole: bool = False,
) -> Iterator[Outcome]:
    """Yield the outcome of each action, domain by domain in the plan's order.

    When `is_over` says so no further action is begun. `whole`: when a part of a domain is blocked, nothing of it is
    done, nor the secret for all domains.
    """
    if plan.stopped:
        yield from _stopped(plan)
        return

    terms = _Terms(allowed=allowed, is_over=is_over, whole=whole)
    came: dict[str, list[Outcome]] = {domain.name: [] for domain in plan.domains}

    def run(domain: DomainPlan) -> None:
        for outcome in _execute_domain(domain, terms, perform):
            came[domain.name].append(outcome)

    if parallel == 1 or len(plan.domains) < 2:
        for domain in plan.domains:
            yield from _execute_domain(domain, terms, perform)
        return
    # The secret is for all: the domain that makes it goes first.
    first = [domain for domain in plan.domains if any(isinstance(action, DefineSecret) for action in domain.actions)]
    for domain in first:
        run(domain)
    pool = ThreadPoolExecutor(parallel)
    running: dict[str, Future[None]] = {}
    try:
        running = {domain.name: pool.submit(run, domain) for domain in plan.domains if domain not in first}
        for domain in plan.domains:
            if domain.name in running:
                running[domain.name].result()
            yield from came.pop(domain.name)
    except BaseException as error:
        _end(pool, running.values())
        if isinstance(error, EndedError):
            # The others ended too: their outcomes are reported.
            for outcomes in came.values():
                yield from outcomes
        raise
    pool.shutdown()


def execute_on_image(
    subject: ImageRef, actions: Sequence[A], allowed: frozenset[Hazard], perform: Callable[[A], None]
) -> Iterator[Outcome]:
    """Yield the outcome of each action on an image or a snapshot: the only work of its run.

    Raises NotDoneError, DefectError for the first that is not done.
    """
    for outcome in _execute_actions(str(subject), actions, _Terms(allowed=allowed), perform):
        if outcome.trace:
            raise DefectError(outcome.detail, outcome.trace)
        if outcome.result is not Result.DONE:
            raise NotDoneError(outcome.detail, outcome.exit_code)
        yield outcome


def _end(pool: ThreadPoolExecutor, running: Collection[Future[None]]) -> None:
    """Let the others finish or discard their current step; the next run finishes a step that takes longer.

    Neither signals nor a closed pipe reach them: they check whether the run is ended.
    """
    pool.shutdown(wait=False, cancel_futures=True)
    left: Collection[Future[None]] = running
    try:
        with asking(signal.SIGPIPE):
            # A task that was cancelled here need not be waited for.
            _, left = wait([each for each in running if not each.cancelled()], _ENDS_WITHIN_S)
    finally:
        if left:
            abandon("domains that others are at work on")


def _stopped(plan: Plan) -> Iterator[Outcome]:
    """Yield why nothing is done, once for all, and the actions that are not done."""
    yield Outcome(domain="all domains", text=plan.stopped, result=Result.BLOCKED, exit_code=ExitCode.BLOCKED)
    for domain in plan.domains:
        for action in domain.actions:
            yield _outcome(domain.name, action, Result.NOT_TRIED, "", ExitCode.OK)


def _execute_domain(plan: DomainPlan, terms: _Terms, perform: Perform) -> Iterator[Outcome]:
    for failure in plan.failures:
        yield Outcome(
            domain=plan.name,
            text=failure.text,
            result=Result.FAILED,
            exit_code=failure.exit_code,
            trace=failure.trace,
        )
    for problem in plan.problems:
        yield Outcome(domain=plan.name, text=problem, result=Result.FAILED, exit_code=ExitCode.SPEC)
    for reason in plan.held_back:
        yield Outcome(domain=plan.name, text=reason, result=Result.BLOCKED, exit_code=ExitCode.BLOCKED)
    yield from _execute_actions(plan.name, plan.actions, terms, perform)


def _execute_actions(name: str, actions: Sequence[A], terms: _Terms, perform: Callable[[A], None]) -> Iterator[Outcome]:
    """Yield the outcome of each action on the domain or the image of that name."""
    # Nothing builds on a start or a change in a running guest; any other action that is not allowed holds back the
    # whole domain from the first step on: a domain of others must not get an image before it refuses the definition.
    # The secret, always the first step, is for all domains.
    stopped = any(action.missing_hazards(terms.allowed) for action in actions if not action.separable)
    for action in actions:
        if missing := action.missing_hazards(terms.allowed):
            yield _outcome(name, action, Result.BLOCKED, f"needs --allow {','.join(missing)}", ExitCode.BLOCKED)
        elif stopped and (terms.whole or not isinstance(action, DefineSecret)):
            yield _outcome(name, action, Result.NOT_TRIED, "", ExitCode.OK)
        elif terms.is_over():
            detail = "the run's deadline is over; the next run goes on (timeouts: reconcile)"
            yield _outcome(name, action, Result.NOT_TRIED, detail, ExitCode.UNAVAILABLE)
        else:
            outcome = _perform(name, action, perform)
            stopped = stopped or outcome.result not in (Result.DONE, Result.PENDING)
            yield outcome


def _perform(name: str, action: A, perform: Callable[[A], None]) -> Outcome:
    obey()
    try:
        with contained(action.text):
            perform(action)
    except NotLiveError as error:
        return _outcome(name, action, Result.PENDING, error.as_line, error.exit_code)
    except BlockedError as error:
        return _outcome(name, action, Result.BLOCKED, error.as_line, error.exit_code)
    except UnavailableError as error:
        return _outcome(name, action, Result.UNKNOWN, error.as_line, error.exit_code)
    except VirtrbdError as error:
        failure = failure_of(error)
        failed = _outcome(name, action, Result.FAILED, failure.text, failure.exit_code)
        return replace(failed, trace=failure.trace)
    return _outcome(name, action, Result.DONE, "", ExitCode.OK)


def _outcome(name: str, action: BaseAction, result: Result, detail: str, code: ExitCode) -> Outcome:
    # A quiet action is reported when it is not done: an exit code always has a message.
    quiet = action.quiet and code is ExitCode.OK
    return Outcome(domain=name, text=action.text, result=result, detail=detail, quiet=quiet, exit_code=code)
