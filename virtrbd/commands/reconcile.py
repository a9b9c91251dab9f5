"""The verb `reconcile`: bring this host into line with its specs, from cron."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from msgspec import Struct

from virtrbd.commands.frame.ends import ending_of
from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.allow import parse_allowed
from virtrbd.commands.options.specs import FLEET_OPTIONS, PATHS, paths_of
from virtrbd.commands.options.types import FILE_TYPE, SecondsRange
from virtrbd.deadline import PROCESS_BEGAN, ended_at
from virtrbd.errors import BusyError, ExitCode, VirtrbdError, worst
from virtrbd.lazily import lazily
from virtrbd.model.record import replace

if TYPE_CHECKING:
    from virtrbd.engine.converge import Report, ReportOutcome
    from virtrbd.specs.directory import Fleet

with lazily():
    from virtrbd.commands.output.report import report_data
    from virtrbd.commands.output.reporter import Reporter
    from virtrbd.local.state_dir import StateDir
    from virtrbd.model.plan import Outcome
    from virtrbd.model.settings import Settings


# No domain and no image has this name.
_HOST_LOCK = " reconcile"

# A look that is nearly done at the run's deadline still lists what is not tried.
_GRACE_S = 10.0


class _Job(Struct, frozen=True, kw_only=True):
    """One reconcile: its options, completed from the settings, and its start (monotonic clock)."""

    run: Run
    settings: Settings
    state: StateDir
    paths: tuple[str, ...]
    textfile: str
    limit: str
    strict: bool
    allow: tuple[str, ...]
    began: float

    @property
    def ends(self) -> float:
        """When the run's deadline is over, on the monotonic clock."""
        return self.began + self.settings.timeouts.reconcile

    @property
    def is_over(self) -> bool:
        """Whether the run's deadline is over."""
        return time.monotonic() > self.ends

    @contextmanager
    def watched(self, what: str, least_s: float = 0) -> Iterator[float]:
        """End the process, with a report, where the block runs past the run's deadline; it has `least_s` anyway.

        Yields when that is, on the monotonic clock, but for the grace.
        """
        ends = max(self.ends, time.monotonic() + least_s)
        with ended_at(max(self.ends + _GRACE_S, ends), lambda: _last_words(self, what)):
            yield ends


@verb
@PATHS
@click.option("--splay", type=SecondsRange(0, 3600), default=0.0, help="Wait up to this many seconds first.")
@click.option(
    "--textfile", type=FILE_TYPE, metavar="FILE", default="", help="For node_exporter; default: the settings'."
)
@click.option("--log", type=click.Choice(["text", "json"]), default="text", help="Form of the lines.")
@FLEET_OPTIONS
def reconcile(
    run: Run,
    *,
    paths: tuple[str, ...],
    splay: float,
    textfile: str,
    log: str,
    limit: str,
    strict: bool,
    allow: tuple[str, ...],
) -> None:
    """Bring this host into line with its specs, from cron.

    It does what is safe unwatched, and is silent when there is nothing to do.
    """
    settings = run.settings()
    waiting_s = random.uniform(0, splay)
    time.sleep(waiting_s)
    job = _Job(
        run=replace(run, log=log),
        settings=settings,
        state=StateDir(settings.state_dir),
        paths=paths_of(paths, settings),
        textfile=textfile or settings.textfile,
        limit=limit,
        strict=strict,
        allow=allow,
        # The wait is not the run's.
        began=PROCESS_BEGAN + waiting_s,
    )
    try:
        with job.state.locked([_HOST_LOCK], "reconcile"):
            code = _reconcile(job, Reporter(run=job.run, state=job.state))
    except BusyError as error:
        # Quietly: the other run does what this one would have done, unless it hangs.
        code = ExitCode.BUSY
        _check_holder(job, error)
        run.answer({"errors": [str(error)], "exit_code": int(code)}, [])
    except BaseException as error:
        _summarise(job, ending_of(error))
        raise
    run.end(code)


def _reconcile(job: _Job, reporter: Reporter) -> ExitCode:
    fleet, report = _converge(job, reporter)
    code = worst(report.exit_code, fleet.exit_code)
    _summarise(job, code, fleet, report)
    if job.run.is_json:
        job.run.answer(
            report_data(report)
            | {"problems": [*fleet.problems, *(failure.text for failure in fleet.failures)], "exit_code": int(code)},
            [],
        )
    return code


def _converge(job: _Job, reporter: Reporter) -> tuple[Fleet, Report]:
    # Here: a run that finds the lock taken needs none of it, and where a library is missing, the summary says so.
    from virtrbd.commands.connected.host import connected
    from virtrbd.commands.connected.specs import policy_of
    from virtrbd.engine.converge import Supervision, converge
    from virtrbd.specs.directory import load_fleet

    allowed = parse_allowed(job.allow)
    with job.watched("reading the specs"):
        # A crontab named the folder, and no operator reads a warning.
        fleet = load_fleet(job.paths, job.settings, strict=job.strict, is_owned=True)
    policy = policy_of(job.paths, fleet, job.settings, job.limit)
    with connected(job.run, job.settings, allowed) as host:
        supervision = Supervision(
            report=_recorded(job.run, reporter.outcome), is_over=lambda: job.is_over, watched=job.watched
        )
        report = converge(fleet.domains, policy, host, "reconcile", supervision)
        reporter.end(fleet, report, is_whole=policy.with_orphans)
    return fleet, report


def _recorded(run: Run, show: ReportOutcome) -> ReportOutcome:
    """Return a function that also keeps outcomes for the JSON document of a run that ends before its report."""
    outcomes: list[dict[str, str]] = []

    def show_and_keep(outcome: Outcome) -> None:
        show(outcome)
        outcomes.append({"name": outcome.domain, "text": outcome.text, "result": outcome.result.value})
        run.so_far({"outcomes": outcomes})

    return show_and_keep


def _last_words(job: _Job, what: str) -> None:
    """Report that the run's deadline ended it, and what it was doing."""
    line = (
        f"reconcile: {what}: not done within {job.settings.timeouts.reconcile:g} s (timeouts: reconcile); the run "
        f"was ended there, and the next one goes on"
    )
    job.run.refuse(ExitCode.UNAVAILABLE, line)
    _summarise(job, ExitCode.UNAVAILABLE)


def _check_holder(job: _Job, busy: BusyError) -> None:
    """Report once, and in the summary, that the lock is held for longer than a run may take: nothing else does."""
    if time.time() - busy.since <= job.settings.timeouts.reconcile:
        return
    since = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(busy.since))
    reporter = Reporter(run=job.run, state=job.state)
    reporter.held_up(
        f"reconcile: {busy.holder} has held the lock since {since}, longer than a run may take (timeouts: reconcile, "
        f"{job.settings.timeouts.reconcile:g} s), and no other run does anything; end it if it hangs"
    )
    if job.textfile:
        # Usually there is none, and its library takes long to import.
        from virtrbd.engine.metrics import write_held_up

        try:
            write_held_up(job.textfile, busy.since)
        except VirtrbdError as error:
            reporter.problem(str(error))


def _summarise(job: _Job, code: ExitCode, fleet: Fleet | None = None, report: Report | None = None) -> None:
    """Write the summary where one is wanted; a failure to write it is reported, and stops nothing."""
    if not job.textfile:
        return
    from virtrbd.engine.metrics import summary_of, write_summary

    now = time.time()
    last_success = now if code is ExitCode.OK else job.state.read_last_success()
    try:
        summary = summary_of(
            report, fleet, code=code, now=now, last_success=last_success, seconds=time.monotonic() - job.began
        )
        write_summary(job.textfile, summary)
        if code is ExitCode.OK:
            job.state.write_last_success(now)
    except VirtrbdError as error:
        Reporter(run=job.run, state=job.state).problem(str(error))
