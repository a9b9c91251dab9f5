"""A plan, as text and as data, and kept in a file."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from virtrbd.commands.pipeline import failure_data, finding_data
from virtrbd.errors import ConfigError, ExitCode, UsageError, VirtrbdError, worst
from virtrbd.model.actions import Action
from virtrbd.model.digest import digest_of
from virtrbd.model.hazard import Hazard
from virtrbd.model.plan import Plan
from virtrbd.printable import shell_command

_KIND = "virtrbd plan"


def plan_digest(plan: Plan) -> str:
    """Return the digest of all that would be done; what it is based on is part of its actions."""
    acting = (domain for domain in plan.domains if domain.actions or domain.problems or domain.failures)
    return digest_of(*(repr((domain.name, domain.actions, domain.problems, domain.failures)) for domain in acting))


def plan_lines(plan: Plan, allowed: frozenset[Hazard]) -> list[str]:
    """Return what would be done, why not, and what there is to know, domain by domain; and a line for all."""
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
    blocked = [a for a in actions if _missing(a, allowed)] + [r for d in plan.domains for r in d.held_back]
    findings = sum(len(domain.findings) for domain in plan.domains)
    problems = sum(len(domain.problems) + len(domain.failures) for domain in plan.domains)
    counts = [
        _count(len(plan.domains), "domain"),
        _count(len(actions), "action"),
        *([f"{len(blocked)} blocked"] if blocked else []),
        *([_count(problems, "problem")] if problems else []),
        *([_count(findings, "finding")] if findings else []),
    ]
    return ", ".join(counts)


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _loud(actions: Sequence[Action]) -> Iterator[Action]:
    return (action for action in actions if not action.quiet)


def _missing(action: Action, allowed: frozenset[Hazard]) -> list[Hazard]:
    return [hazard for hazard in action.hazards if hazard not in allowed]


def _action_line(action: Action, allowed: frozenset[Hazard]) -> str:
    missing = _missing(action, allowed)
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
                        "blocked": bool(_missing(action, allowed)),
                        "differences": [
                            {"path": d.path, "wanted": d.wanted, "found": d.found, "mend": d.mend.value}
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
    """Return what `plan` ends with: DRIFT when there is anything to do or to know."""
    failed = [failure.exit_code for domain in plan.domains for failure in domain.failures]
    if any(domain.problems for domain in plan.domains):
        failed.append(ExitCode.SPEC)
    if failed:
        return worst(*failed)
    something = any(any(_loud(d.actions)) or d.findings or d.held_back for d in plan.domains)
    return ExitCode.DRIFT if something or plan.stopped else ExitCode.OK


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedPlan:
    """A plan that a person has seen: the specs it was made from, and the digest of what it would do."""

    paths: tuple[str, ...]
    digest: str
    host: str


def save_plan(file: str, saved: SavedPlan, lines: Sequence[str]) -> None:
    """Write the plan, for people to read and for apply. Raises VirtrbdError; an existing file is replaced whole."""
    data = {
        "kind": _KIND,
        "paths": list(saved.paths),
        "digest": saved.digest,
        "host": saved.host,
        "plan": list(lines),
    }
    target = Path(file)
    half = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        half.write_text(json.dumps(data, indent=2) + "\n")
        half.replace(target)
    except OSError as error:
        raise VirtrbdError(f"{file}: {error.strerror}; name a file that can be written") from error


def is_saved_plan(paths: Sequence[str]) -> bool:
    """Whether the arguments name a saved plan rather than specs. Raises UsageError when they name both."""
    plans = [path for path in paths if Path(path).is_file() and Path(path).suffix not in (".yaml", ".yml")]
    if plans and len(paths) > 1:
        raise UsageError(f"{plans[0]}: specs end in .yaml, and a saved plan names its own; apply it alone")
    return bool(plans)


def read_plan(file: str) -> SavedPlan:
    """Return a saved plan. Raises ConfigError when it is none."""
    try:
        data = json.loads(Path(file).read_text())
        if data["kind"] != _KIND:
            raise ValueError(data["kind"])
        return SavedPlan(paths=tuple(data["paths"]), digest=str(data["digest"]), host=str(data["host"]))
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError):
        raise ConfigError(
            f"{file}: no plan that virtrbd saved; make one with {shell_command('virtrbd plan --save', file)}"
        ) from None
