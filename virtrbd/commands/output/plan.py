"""A plan, as text and as data."""

from collections.abc import Iterator, Sequence
from typing import Any

from virtrbd.commands.output.failures import failure_data
from virtrbd.commands.output.report import finding_data
from virtrbd.errors import ExitCode, worst
from virtrbd.model.actions import Action
from virtrbd.model.digest import digest_of
from virtrbd.model.hazard import Hazard
from virtrbd.model.plan import Plan
from virtrbd.model.size import counted


def plan_digest(plan: Plan) -> str:
    """Return the digest of everything that would be done; its base is a part of its actions."""
    acting = (domain for domain in plan.domains if domain.actions or domain.problems or domain.failures)
    return digest_of(*(repr((domain.name, domain.actions, domain.problems, domain.failures)) for domain in acting))


def plan_lines(plan: Plan, allowed: frozenset[Hazard]) -> list[str]:
    """Return what would be done, why not, and the findings, domain by domain; and a line for all."""
    lines = [f"STOPPED: {plan.stopped}"] if plan.stopped else []
    for domain in plan.domains:
        lines += [f"{domain.name}: FAILED: {failure.text}" for failure in domain.failures]
        lines += [f"{domain.name}: FAILED: {problem}" for problem in domain.problems]
        lines += [f"{domain.name}: BLOCKED: {reason}" for reason in domain.held_back]
        lines += [f"{domain.name}: {_action_line(action, allowed)}" for action in _loud(domain.actions)]
        lines += [str(finding) for finding in domain.findings]
        if domain.note:
            lines.append(f"{domain.name}: {domain.note}")
    return [*lines, summary(plan, allowed)]


def summary(plan: Plan, allowed: frozenset[Hazard]) -> str:
    """Return one line that says how much there is to do."""
    actions = [action for domain in plan.domains for action in _loud(domain.actions)]
    blocked = [a for a in actions if a.missing_hazards(allowed)] + [r for d in plan.domains for r in d.held_back]
    findings = sum(len(domain.findings) for domain in plan.domains)
    problems = sum(len(domain.problems) + len(domain.failures) for domain in plan.domains)
    counts = [
        counted(len(plan.domains), "domain"),
        counted(len(actions), "action"),
        *([f"{len(blocked)} blocked"] if blocked else []),
        *([counted(problems, "problem")] if problems else []),
        *([counted(findings, "finding")] if findings else []),
    ]
    return ", ".join(counts)


def _loud(actions: Sequence[Action]) -> Iterator[Action]:
    return (action for action in actions if not action.quiet)


def _action_line(action: Action, allowed: frozenset[Hazard]) -> str:
    missing = action.missing_hazards(allowed)
    return f"BLOCKED: {action.text}: needs --allow {','.join(missing)}" if missing else f"would {action.text}"


def plan_data(plan: Plan, allowed: frozenset[Hazard]) -> dict[str, Any]:
    """Return the plan for programs."""
    return {
        "digest": plan_digest(plan),
        "stopped": plan.stopped or None,
        "domains": [
            {
                "name": domain.name,
                "note": domain.note,
                "problems": list(domain.problems),
                "failures": [failure_data(failure) for failure in domain.failures],
                "held_back": list(domain.held_back),
                "actions": [
                    {
                        "kind": type(action).__name__,
                        "text": action.text,
                        "hazards": [hazard.value for hazard in action.hazards],
                        "blocked": bool(action.missing_hazards(allowed)),
                        "differences": [
                            {"path": str(d.path), "wanted": d.wanted, "found": d.found, "mend": d.mend.value}
                            for d in getattr(action, "differences", ())
                        ],
                    }
                    for action in _loud(domain.actions)
                ],
                "findings": [finding_data(finding) for finding in domain.findings],
            }
            for domain in plan.domains
        ],
    }


def exit_code_of(plan: Plan) -> ExitCode:
    """Return the exit code of `plan`: DRIFT when there is anything to do or to report."""
    failed = [failure.exit_code for domain in plan.domains for failure in domain.failures]
    if any(domain.problems for domain in plan.domains):
        failed.append(ExitCode.SPEC)
    if failed:
        return worst(*failed)
    something = any(any(_loud(d.actions)) or d.findings or d.held_back for d in plan.domains)
    return ExitCode.DRIFT if something or plan.stopped else ExitCode.OK
