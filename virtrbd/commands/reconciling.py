"""The verb that cron runs: reconcile."""

import json
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from virtrbd.commands.app import Run, app, with_global_options
from virtrbd.commands.fleet_options import FLEET_OPTIONS, PATHS, paths_of, policy_of
from virtrbd.errors import BusyError, ExitCode, VirtrbdError, worst
from virtrbd.model.settings import Settings

if TYPE_CHECKING:
    from virtrbd.host.converge import Report
    from virtrbd.host.state import StateDir
    from virtrbd.model.plan import Finding, Outcome
    from virtrbd.spec.fleet import Fleet

# No domain and no image is called so.
_HOST_LOCK = " reconcile"


@app.command()
@PATHS
@click.option("--splay", type=click.FloatRange(0, 3600), default=0.0, help="Wait up to so many seconds first.")
@click.option("--textfile", metavar="FILE", default="", help="Summary for node_exporter; default: the settings'.")
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
    paths = paths_of(paths, settings)
    state = StateDir(settings.state_dir)
    try:
        with state.locked([_HOST_LOCK], "reconcile"):
            teller = _Teller(run=run, as_json=log == "json", told=state.read_told())
            code = _reconcile(run, settings, state, teller, paths, textfile or settings.textfile, limit, strict, allow)
    except BusyError:
        # The other run does what this one would have done.
        code = ExitCode.BUSY
    run.end(code)


def _reconcile(
    run: Run,
    settings: Settings,
    state: "StateDir",
    teller: "_Teller",
    paths: tuple[str, ...],
    textfile: str,
    limit: str,
    strict: bool,
    allow: tuple[str, ...],
) -> ExitCode:
    began = time.monotonic()
    try:
        fleet, report = _converge(run, settings, paths, limit, strict, allow, teller, began)
    except VirtrbdError as error:
        _summarise(textfile, state, teller, None, None, error.exit_code, began)
        raise
    code = worst(report.exit_code, ExitCode.SPEC if fleet.problems else ExitCode.OK)
    teller.end(fleet, report, state)
    _summarise(textfile, state, teller, fleet, report, code, began)
    if run.is_json:
        from virtrbd.commands.pipeline import report_data

        run.answer(report_data(report) | {"problems": list(fleet.problems), "exit_code": int(code)}, [])
    return code


def _converge(
    run: Run,
    settings: Settings,
    paths: tuple[str, ...],
    limit: str,
    strict: bool,
    allow: tuple[str, ...],
    teller: "_Teller",
    began: float,
) -> "tuple[Fleet, Report]":
    from virtrbd.commands.pipeline import connected, parse_allowed
    from virtrbd.host.converge import converge
    from virtrbd.spec.fleet import load_fleet

    allowed = parse_allowed(allow)
    fleet = load_fleet(paths, settings, strict=strict)
    policy = policy_of(paths, fleet, settings, limit)
    ends_at = began + settings.timeouts.reconcile
    with connected(run, settings, allowed) as host:
        report = converge(
            fleet.domains, policy, host, "reconcile", teller.outcome, is_over=lambda: time.monotonic() > ends_at
        )
    return fleet, report


@dataclass(slots=True, kw_only=True)
class _Teller:
    """Tells what was done at once, and what waits for a person once, when it appears or changes."""

    run: Run
    as_json: bool
    told: dict[str, str]
    waiting: "list[Outcome]" = field(default_factory=list)

    def outcome(self, outcome: "Outcome") -> None:
        """Tell an outcome, or keep it until all are known."""
        from virtrbd.commands.pipeline import outcome_line
        from virtrbd.model.plan import Result
        from virtrbd.planning.news import is_told_once

        if outcome.quiet or (outcome.result is Result.NOT_TRIED and outcome.exit_code is ExitCode.OK):
            return
        if is_told_once(outcome):
            self.waiting.append(outcome)
            return
        is_done = outcome.result is Result.DONE
        self._say(outcome_line(outcome), is_error=not is_done, event="action", **_outcome_fields(outcome))

    def end(self, fleet: "Fleet", report: "Report", state: "StateDir") -> None:
        """Tell what is new of all that waits for a person, and keep that it was told."""
        from virtrbd.planning.news import message_of, news

        items: list[Outcome | Finding | str] = [
            *fleet.problems,
            *self.waiting,
            *(finding for domain in report.left.domains for finding in domain.findings),
        ]
        fresh, told = news(map(message_of, items), self.told)
        for item in items:
            if message_of(item).key in fresh:
                self._tell_once(item)
        if told == self.told:
            return
        try:
            state.write_told(told)
        except VirtrbdError as error:
            self._say(f"{error}. Until then everything is told again each time", is_error=True, event="problem")

    def _tell_once(self, item: "Outcome | Finding | str") -> None:
        from virtrbd.commands.pipeline import finding_data, outcome_line
        from virtrbd.model.plan import Finding, Outcome

        match item:
            case Outcome():
                self._say(outcome_line(item), is_error=True, event="action", **_outcome_fields(item))
            case Finding():
                self._say(str(item), is_error=False, event="finding", domain=item.domain, **finding_data(item))
            case _:
                self._say(item, is_error=True, event="problem")

    def problem(self, text: str) -> None:
        """Tell what went wrong beside the domains."""
        self._say(text, is_error=True, event="problem")

    def _say(self, line: str, *, is_error: bool, event: str, **fields: str) -> None:
        if self.as_json:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            level = "error" if is_error else "info"
            entry = {"time": now, "level": level, "event": event, "line": line, **fields}
            click.echo(json.dumps(entry), file=sys.stderr)
        elif not self.run.is_json or is_error:
            click.echo(line, err=is_error or self.run.is_json)


def _outcome_fields(outcome: "Outcome") -> dict[str, str]:
    return {
        "domain": outcome.domain,
        "action": outcome.text,
        "result": outcome.result.value,
        "detail": outcome.detail,
    }


def _summarise(
    textfile: str,
    state: "StateDir",
    teller: _Teller,
    fleet: "Fleet | None",
    report: "Report | None",
    code: ExitCode,
    began: float,
) -> None:
    """Write the summary where one is wanted; that it can't be written is told, and stops nothing."""
    if not textfile:
        return
    from virtrbd.host.textfile import Summary, write_summary

    now = time.time()
    try:
        if code is ExitCode.OK:
            state.write_last_success(now)
        write_summary(
            textfile,
            Summary(
                exit_code=int(code),
                ended_at=now,
                last_success=state.read_last_success(),
                domains_by_state=Counter(power.value for power in report.plan.states) if report else Counter(),
                actions_by_result=Counter(o.result.value for o in report.outcomes if not o.quiet)
                if report
                else Counter(),
                findings_by_kind=_kinds(report),
                spec_problems=len(fleet.problems) if fleet else 0,
                seconds_by_phase={**(report.seconds if report else {}), "all": time.monotonic() - began},
            ),
        )
    except VirtrbdError as error:
        teller.problem(str(error))


def _kinds(report: "Report | None") -> Counter[str]:
    domains: Sequence[Any] = report.left.domains if report else ()
    return Counter(finding.kind.value for domain in domains for finding in domain.findings)
