"""The reports of an unwatched run: outcomes at once, and what waits for the operator once."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import Struct, field

from virtrbd.commands.frame.run import Run
from virtrbd.commands.output.log_lines import print_log
from virtrbd.commands.output.printing import print_lines
from virtrbd.commands.output.report import finding_data, outcome_line
from virtrbd.errors import ExitCode, VirtrbdError
from virtrbd.local.state_dir import StateDir
from virtrbd.model.failure import Failure
from virtrbd.model.plan import Finding, Outcome, Result
from virtrbd.planning.report_once import Message, is_reported_once, message_of, news

if TYPE_CHECKING:
    from virtrbd.engine.converge import Report
    from virtrbd.specs.directory import Fleet

# A separate file: the run that has the lock writes the other.
_HELD_UP = "told-held-up"


class Reporter(Struct, kw_only=True):
    """Reports outcomes at once, and what waits for the operator once, when it appears or changes."""

    run: Run
    state: StateDir
    waiting: list[Outcome] = field(default_factory=list)

    def outcome(self, outcome: Outcome) -> None:
        """Report an outcome, or keep it until all are known."""
        if outcome.quiet or (outcome.result is Result.NOT_TRIED and outcome.exit_code is ExitCode.OK):
            return
        if is_reported_once(outcome):
            self.waiting.append(outcome)
        else:
            self._show(outcome)

    def end(self, fleet: "Fleet", report: "Report", *, is_whole: bool) -> None:
        """Report what is new of everything that waits for the operator, and record that.

        `is_whole`: the run covered everything, so what it did not find is gone.
        """
        for failure in fleet.failures:
            self._failure(failure)
        findings = [finding for domain in report.left.domains for finding in domain.findings]
        items: Sequence[Outcome | Finding | str] = [*fleet.problems, *fleet.warnings, *self.waiting, *findings]
        before = self.state.read_reported()
        about = None if is_whole else {"", *(domain.name for domain in report.left.domains)}
        fresh, reported = news(map(message_of, items), before, about)
        for item in items:
            if message_of(item).key in fresh:
                self._show(item)
        if reported != before:
            self._keep(reported)

    def problem(self, text: str) -> None:
        """Report what went wrong besides the domains."""
        self._say(text, is_error=True, event="problem")

    def held_up(self, text: str) -> None:
        """Report once that another run has the lock for too long: when that begins, and when it is another run."""
        before = self.state.read_reported(_HELD_UP)
        fresh, reported = news([Message(key="|lock|reconcile", text=text)], before)
        if fresh:
            self.problem(text)
            self._keep(reported, _HELD_UP)

    def _failure(self, failure: Failure) -> None:
        """Report that virtrbd itself failed at a spec: every time, until it is reported and mended."""
        self.problem(failure.text)
        for line in failure.trace:
            self._say(f"specs: trace: {line}", is_error=True, event="trace")

    def _keep(self, reported: dict[str, str], what: str = "told") -> None:
        try:
            self.state.write_reported(reported, what)
        except VirtrbdError as error:
            self.problem(f"{error}. Until then everything is reported again each time")

    def _show(self, item: Outcome | Finding | str) -> None:
        match item:
            case Outcome():
                is_error = item.result is not Result.DONE
                self._say(outcome_line(item), is_error=is_error, event="action", **_outcome_fields(item))
                for line in item.trace:
                    self._say(f"{item.domain}: trace: {line}", is_error=True, event="trace", domain=item.domain)
            case Finding():
                self._say(str(item), is_error=False, event="finding", domain=item.domain, **finding_data(item))
            case _:
                self.problem(item)

    def _say(self, line: str, *, is_error: bool, event: str, **fields: str) -> None:
        as_json = self.run.log == "json"
        if as_json or is_error:
            print_log([line], is_error=is_error, event=event, as_json=as_json, **fields)
        elif not self.run.is_json:
            print_lines([line])


def _outcome_fields(outcome: Outcome) -> dict[str, str]:
    return {
        "domain": outcome.domain,
        "action": outcome.text,
        "result": outcome.result.value,
        "detail": outcome.detail,
    }
