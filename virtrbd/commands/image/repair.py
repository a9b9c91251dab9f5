"""The verb `image repair`: repair what a crash left of an image."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.allow import ALLOW, parse_allowed
from virtrbd.commands.options.images import IMAGE, PLAN, require_plain
from virtrbd.commands.options.types import DURATION_TYPE
from virtrbd.errors import ExitCode
from virtrbd.lazily import lazily

with lazily():
    from virtrbd.commands.connected.host import connected_for_images
    from virtrbd.engine.execute import execute_on_image
    from virtrbd.images.repair import find_repair, find_repair_once_free, find_rest, perform_repair, require_settled
    from virtrbd.model.hazard import Hazard
    from virtrbd.model.image import ImageRef
    from virtrbd.planning.repair import RepairPlan


@verb
@IMAGE
@click.option(
    "--least-age",
    "least_age_s",
    type=DURATION_TYPE,
    default="1m",
    show_default=True,
    metavar="DURATION",
    help="Leave alone a name younger than this: another client may be making the image.",
)
@PLAN
@ALLOW
def repair(run: Run, ref: ImageRef, least_age_s: float, only_plan: bool, allow: tuple[str, ...]) -> None:
    """Repair what a crash left of an image.

    That is a half-made image, an invalid object map, a lock whose holder is gone, or an intent.
    """
    require_plain(ref)
    done: list[str] = []
    with connected_for_images(run, parse_allowed(allow)) as host, host.state.locked([str(ref)], "image repair"):
        look = partial(find_repair, host, ref)
        plan = look() if only_plan else find_repair_once_free(host, ref)
        data = plan_data(plan) | {"image": str(ref), "done": done}
        run.so_far(data)
        if plan.steps and not only_plan and not plan.missing_hazards(host.allowed):
            require_settled(host, plan, least_age_s, look)
            for outcome in execute_on_image(ref, plan.steps, host.allowed, partial(perform_repair, host=host)):
                # At once: what was done is reported also where the next step fails.
                done.append(outcome.text)  # noqa: PERF401
            # An image that did not open before is looked at for the first time.
            plan = find_rest(host, ref)
            data["left"] = plan_data(plan)
    code = _exit_code(plan, host.allowed)
    run.end(code or (ExitCode.FAILED if done and plan.steps else ExitCode.OK))
    lines = plan_lines(plan, host.allowed) if plan.found or not done else []
    run.answer(data, [*(f"{ref}: done: {text}" for text in done), *lines])


def _exit_code(plan: RepairPlan, allowed: frozenset[Hazard]) -> ExitCode:
    if plan.problem or (plan.steps and plan.open_by):
        return ExitCode.FAILED
    return ExitCode.BLOCKED if plan.missing_hazards(allowed) else ExitCode.OK


def _problem(plan: RepairPlan) -> list[str]:
    return [f"{plan.subject}: image repair does not mend this: {plan.problem}"] if plan.problem else []


def plan_data(plan: RepairPlan) -> dict[str, Any]:
    """Return the plan for programs."""
    return {
        "found": list(plan.found),
        "steps": [
            {"kind": type(step).__name__, "text": step.text, "hazard": next((h.value for h in step.hazards), None)}
            for step in plan.steps
        ],
        "problem": plan.problem or None,
        "objections": [str(each) for each in plan.objections],
        "open_by": [str(watcher) for watcher in plan.open_by],
    }


def plan_lines(plan: RepairPlan, allowed: frozenset[Hazard]) -> list[str]:
    """Return the flaws, and the steps that mend them."""
    if not plan.found:
        return [f"{plan.subject}: nothing to mend"]
    lines = [f"{plan.subject}: {text}" for text in plan.found]
    lines += _problem(plan)
    if plan.steps and plan.open_by:
        lines.append(f"{plan.subject}: open by {', '.join(map(str, plan.open_by))}; stop that client first")
    lines += [f"{plan.subject}: {each}" for each in plan.objections if each.hazard not in allowed]
    if plan.steps:
        lines.append("steps:")
    for number, step in enumerate(plan.steps, 1):
        missing = ",".join(step.missing_hazards(allowed))
        flag = f"; needs --allow {missing}" if missing else ""
        lines.append(f"  {number}. {step.text}{flag}")
    return lines
