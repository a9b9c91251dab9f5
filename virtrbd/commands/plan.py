"""The verb `plan`: what differs from the specs, and what would be done about it."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.allow import parse_allowed
from virtrbd.commands.options.specs import FLEET_OPTIONS, PATHS, paths_of
from virtrbd.commands.options.types import FILE_TYPE
from virtrbd.errors import UsageError, worst
from virtrbd.lazily import lazily

with lazily():
    from virtrbd.commands.connected.host import connected
    from virtrbd.commands.connected.specs import policy_of
    from virtrbd.commands.output.failures import show_failures, show_trace
    from virtrbd.commands.output.plan import exit_code_of, plan_data, plan_digest, plan_lines
    from virtrbd.commands.output.report import show_lints
    from virtrbd.engine.converge import look
    from virtrbd.local.saved_plan import SavedPlan, refuse_target, save_plan
    from virtrbd.specs.directory import load_fleet


@verb
@PATHS
@click.option("--save", type=FILE_TYPE, metavar="FILE", default="", help="Keep the plan in a file that apply takes.")
@FLEET_OPTIONS
def plan(run: Run, *, paths: tuple[str, ...], save: str, limit: str, strict: bool, allow: tuple[str, ...]) -> None:
    """Show what differs from the specs; change nothing.

    It shows what apply would do, and what reconcile would leave to the operator.
    """
    allowed, settings = parse_allowed(allow), run.settings()
    is_own = not paths  # The settings' spec_dir, which cron works by too.
    paths = paths_of(paths, settings)
    if save:
        refuse_target(save)
        # apply takes them from any folder, so the paths must be absolute.
        paths = _absolute(paths)
    fleet = load_fleet(paths, settings, strict=strict, is_owned=is_own)
    run.say(*fleet.warnings)
    policy = policy_of(paths, fleet, settings, limit)
    with connected(run, settings, allowed) as host:
        found = look(fleet.domains, policy, host)
    show_lints(run, found)
    for domain in found.domains:
        for failure in domain.failures:
            show_trace(run, domain.name, failure.trace)
    broken = [*fleet.problems, *show_failures(run, fleet.failures)]
    lines = [*broken, *plan_lines(found, allowed)]
    if save:
        if not fleet.is_whole:
            raise UsageError("a plan over broken specs cannot be saved; mend them first:", *broken)
        save_plan(save, SavedPlan(paths=paths, digest=plan_digest(found), host=settings.host), lines)
    code = worst(exit_code_of(found), fleet.exit_code)
    run.answer({**plan_data(found, allowed), "problems": broken, "exit_code": int(code)}, lines)
    run.end(code)


def _absolute(paths: Sequence[str]) -> tuple[str, ...]:
    """Return the paths from the root on. Raises UsageError."""
    try:
        return tuple(map(os.path.abspath, paths))
    except FileNotFoundError:
        raise UsageError("the working directory has been removed; change to another one") from None
