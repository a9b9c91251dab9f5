"""The verb that cron runs: reconcile."""

import random
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import click

from virtrbd.commands.app import FILE_TYPE, Run, app, ending_of, with_global_options
from virtrbd.commands.fleet_options import FLEET_OPTIONS, PATHS, paths_of, policy_of
from virtrbd.commands.telling import Teller
from virtrbd.errors import BusyError, ExitCode, VirtrbdError, worst
from virtrbd.model.settings import Settings

if TYPE_CHECKING:
    from virtrbd.host.converge import Report
    from virtrbd.host.state import StateDir
    from virtrbd.spec.fleet import Fleet

# No domain and no image is called so.
_HOST_LOCK = " reconcile"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One reconcile: what was asked for, completed from the settings, and since when it runs."""

    run: Run
    settings: Settings
    state: "StateDir"
    paths: tuple[str, ...]
    textfile: str
    limit: str
    strict: bool
    allow: tuple[str, ...]
    began: float = field(default_factory=time.monotonic)

    @property
    def is_over(self) -> bool:
        """Whether the run's deadline is over."""
        return time.monotonic() - self.began > self.settings.timeouts.reconcile


@app.command()
@PATHS
@click.option("--splay", type=click.FloatRange(0, 3600), default=0.0, help="Wait up to so many seconds first.")
@click.option(
    "--textfile", type=FILE_TYPE, metavar="FILE", default="", help="For node_exporter; default: the settings'."
)
@click.option("--log", type=click.Choice(["text", "json"]), default="text", help="Form of the lines.")
@FLEET_OPTIONS
@with_global_options
def reconcile(
    run: Run,
    paths: tuple[str, ...],
    splay: float,
    textfile: str,
    log: str,
    limit: str,
    strict: bool,
    allow: tuple[str, ...],
) -> None:
    """Bring this host into line with its specs, as far as that is safe unwatched; silent when nothing is to be done."""
    from virtrbd.host.state import StateDir

    settings = run.settings()
    time.sleep(random.uniform(0, splay))
    job = _Job(
        run=replace(run, log=log),
        settings=settings,
        state=StateDir(settings.state_dir),
        paths=paths_of(paths, settings),
        textfile=textfile or settings.textfile,
        limit=limit,
        strict=strict,
        allow=allow,
    )
    try:
        with job.state.locked([_HOST_LOCK], "reconcile"):
            code = _reconcile(job, Teller(run=job.run, state=job.state))
    except BusyError as error:
        # Quietly: the other run does what this one would have done.
        code = ExitCode.BUSY
        run.answer({"errors": [str(error)], "exit_code": int(code)}, [])
    except BaseException as error:
        _summarise(job, ending_of(error))
        raise
    run.end(code)


def _reconcile(job: _Job, teller: Teller) -> ExitCode:
    fleet, report = _converge(job, teller)
    code = worst(report.exit_code, ExitCode.SPEC if fleet.problems else ExitCode.OK)
    _summarise(job, code, fleet, report)
    if job.run.is_json:
        from virtrbd.commands.pipeline import report_data

        job.run.answer(report_data(report) | {"problems": list(fleet.problems), "exit_code": int(code)}, [])
    return code


def _converge(job: _Job, teller: Teller) -> "tuple[Fleet, Report]":
    from virtrbd.commands.pipeline import connected, parse_allowed
    from virtrbd.host.converge import converge
    from virtrbd.spec.fleet import load_fleet

    allowed = parse_allowed(job.allow)
    fleet = load_fleet(job.paths, job.settings, strict=job.strict)
    policy = policy_of(job.paths, fleet, job.settings, job.limit)
    with connected(job.run, job.settings, allowed) as host:
        report = converge(fleet.domains, policy, host, "reconcile", teller.outcome, is_over=lambda: job.is_over)
        teller.end(fleet, report, is_whole=policy.with_orphans)
    return fleet, report


def _summarise(job: _Job, code: ExitCode, fleet: "Fleet | None" = None, report: "Report | None" = None) -> None:
    """Write the summary where one is wanted; that it can't be written is told, and stops nothing."""
    if not job.textfile:
        return
    from virtrbd.host.textfile import summary_of, write_summary

    now = time.time()
    last_success = now if code is ExitCode.OK else job.state.read_last_success()
    try:
        summary = summary_of(report, fleet, code, now, last_success, time.monotonic() - job.began)
        write_summary(job.textfile, summary)
        if code is ExitCode.OK:
            job.state.write_last_success(now)
    except VirtrbdError as error:
        Teller(run=job.run, state=job.state).problem(str(error))
