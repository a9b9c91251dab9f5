"""The report of what a run did with domains, as text and as data."""

from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict

from virtrbd.commands.frame.run import Run
from virtrbd.commands.output.failures import failure_data, show_trace
from virtrbd.commands.output.printing import print_lines
from virtrbd.model.plan import Finding, Outcome, Plan, Result

if TYPE_CHECKING:
    from virtrbd.engine.converge import Report


def show_lints(run: Run, plan: Plan) -> None:
    """Lints are printed when a definition is rendered, so a run that changes nothing is silent."""
    for domain in plan.domains:
        for lint in domain.lints:
            if not run.is_json:
                run.say(str(lint))


def show_outcome(run: Run, outcome: Outcome) -> None:
    """Print the outcome of an action, on stderr unless it was done."""
    if not (run.is_json or outcome.quiet):
        print_lines([outcome_line(outcome)], to_stderr=outcome.result is not Result.DONE)
    show_trace(run, outcome.domain, outcome.trace)


def outcome_line(outcome: Outcome) -> str:
    """Return the line of an outcome: the action, its result, the reason."""
    word = "" if outcome.result is Result.DONE else f"{outcome.result.value.upper()}: "
    return f"{outcome.domain}: {word}{outcome.text}" + (f": {outcome.detail}" if outcome.detail else "")


def finding_data(finding: Finding) -> dict[str, str]:
    """Return a finding for programs."""
    return {"kind": finding.kind.value, "subject": finding.subject, "text": finding.text}


def report_data(report: "Report") -> dict[str, Any]:
    """Return what a run did for programs."""
    return {
        "stopped": report.plan.stopped or None,
        "domains": [
            {
                "name": domain.name,
                "note": domain.note,
                "failures": [failure_data(failure) for failure in domain.failures],
                "lints": [asdict(lint) for lint in domain.lints],
                "findings": [finding_data(finding) for finding in domain.findings],
                "actions": [
                    {"text": o.text, "result": o.result.value, "detail": o.detail}
                    for o in report.outcomes
                    if o.domain == domain.name and not o.quiet
                ],
            }
            for domain in report.left.domains
        ],
        "exit_code": int(report.exit_code),
    }


def report_lines(report: "Report", *, quiet: bool) -> list[str]:
    """Return the last lines: the findings, and the domains of which nothing was done.

    `quiet`: without domains that are in sync.
    """
    loud = {outcome.domain for outcome in report.outcomes if not outcome.quiet}
    lines = []
    for domain in report.left.domains:
        lines += [str(finding) for finding in domain.findings]
        if domain.name not in loud and not domain.findings and not (quiet and not domain.note):
            lines.append(f"{domain.name}: {domain.note or 'nothing to do'}")
    return lines
