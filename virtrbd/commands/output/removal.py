"""A removal as text and as data: what keeps the image, and the steps."""

from collections.abc import Sequence
from typing import Any, assert_never

from virtrbd.errors import ExitCode
from virtrbd.model.duration import format_duration
from virtrbd.model.removal_actions import (
    FlattenClone,
    RemovalAction,
    RemoveImage,
    RemoveSnapshot,
    TrashImage,
    UnprotectSnapshot,
)
from virtrbd.planning.objections import Objection
from virtrbd.planning.removal import RemovalPlan


def exit_code_of(standing: Sequence[Objection]) -> ExitCode:
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


def plan_lines(plan: RemovalPlan, standing: Sequence[Objection]) -> list[str]:
    """Return what keeps the image or snapshot, and the steps in order."""
    cleared = [blocker for blocker in plan.blockers if blocker not in standing]
    title = "kept by" if standing else "nothing else keeps it" if cleared else "nothing keeps it"
    lines = [f"{plan.subject}: {title}"]
    lines += [f"  {blocker}" for blocker in standing]
    lines += [f"  {blocker.text}: cleared or allowed" for blocker in cleared]
    lines += ["steps:", *(f"  {number}. {step.text}" for number, step in enumerate(plan.steps, 1))]
    return lines


def done_line(action: RemovalAction) -> str:
    """Return what was done, for the line of the image or snapshot."""
    match action:
        case FlattenClone():
            return f"flattened {action.child}"
        case UnprotectSnapshot():
            return f"unprotected {action.ref}"
        case RemoveSnapshot():
            return f"removed snapshot {action.ref}"
        case TrashImage():
            return f"moved to the trash for {format_duration(action.delay_s)}"
        case RemoveImage():
            return "removed for good"
        case _:
            assert_never(action)
