"""A removal as text and as data: what keeps the image, and the steps."""

from collections.abc import Sequence
from typing import Any

from virtrbd.errors import ExitCode
from virtrbd.planning.removal import Blocker, RemovalPlan


def exit_code_of(standing: Sequence[Blocker]) -> ExitCode:
    """Return the exit code of a removal with these blockers, as for any refused verb on images."""
    if not standing:
        return ExitCode.OK
    return ExitCode.BLOCKED if all(blocker.is_for_a_flag for blocker in standing) else ExitCode.FAILED


def plan_data(plan: RemovalPlan) -> dict[str, Any]:
    """Return the plan for programs."""
    return {
        "blockers": [
            {"text": b.text, "way_out": b.way_out or "--clear", "hazard": b.hazard.value if b.hazard else None}
            for b in plan.blockers
        ],
        "steps": [step.text for step in plan.steps],
    }


def plan_lines(plan: RemovalPlan, standing: Sequence[Blocker]) -> list[str]:
    """Return what keeps the image or snapshot, and the steps in order."""
    cleared = [blocker for blocker in plan.blockers if blocker not in standing]
    title = "kept by" if standing else "nothing else keeps it" if cleared else "nothing keeps it"
    lines = [f"{plan.subject}: {title}"]
    lines += [f"  {_blocker_line(blocker)}" for blocker in standing]
    lines += [f"  {blocker.text}: cleared or allowed" for blocker in cleared]
    lines += ["steps:", *(f"  {number}. {step.text}" for number, step in enumerate(plan.steps, 1))]
    return lines


def _blocker_line(blocker: Blocker) -> str:
    ways = [blocker.way_out] if blocker.way_out else []
    if blocker.hazard:
        ways.append(f"--allow {blocker.hazard}")
    return f"{blocker.text}; {', or '.join(ways) or 'the steps below clear it: --clear'}"
