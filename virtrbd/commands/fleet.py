"""The verbs over all specs that a person runs: plan, apply."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from virtrbd.commands.app import FILE_TYPE, Run, app, with_global_options
from virtrbd.commands.fleet_options import FLEET_OPTIONS, PATHS, paths_of, policy_of, say_all
from virtrbd.errors import HypervisorError, UsageError, worst

if TYPE_CHECKING:
    from virtrbd.local.saved_plan import SavedPlan
    from virtrbd.model.plan import Plan


@app.command()
@PATHS
@click.option("--save", type=FILE_TYPE, metavar="FILE", default="", help="Keep the plan in a file that apply takes.")
@FLEET_OPTIONS
@with_global_options
def plan(run: Run, paths: tuple[str, ...], save: str, limit: str, strict: bool, allow: tuple[str, ...]) -> None:
    """Show what differs from the specs; change nothing.

    It says what apply would do, and what reconcile would leave for a person.
    """
    from virtrbd.commands.failures import show_failures, show_trace
    from virtrbd.commands.pipeline import connected, parse_allowed, tell_lints
    from virtrbd.commands.plan_output import exit_code_of, plan_data, plan_digest, plan_lines
    from virtrbd.engine.converge import look
    from virtrbd.local.saved_plan import SavedPlan, refuse_target, save_plan
    from virtrbd.specs.directory import load_fleet

    allowed, settings = parse_allowed(allow), run.settings()
    is_own = not paths  # The settings' spec_dir, which cron works by too.
    paths = paths_of(paths, settings)
    if save:
        refuse_target(save)
        # apply takes them from any folder; and what names a file must read the same then.
        paths = _absolute(paths)
    fleet = load_fleet(paths, settings, strict=strict, is_owned=is_own)
    say_all(run, fleet.warnings)
    policy = policy_of(paths, fleet, settings, limit)
    with connected(run, settings, allowed) as host:
        found = look(fleet.domains, policy, host)
    tell_lints(run, found)
    for domain in found.domains:
        for failure in domain.failures:
            show_trace(run, domain.name, failure.trace)
    broken = [*fleet.problems, *show_failures(run, fleet.failures)]
    lines = [*broken, *plan_lines(found, allowed)]
    if save:
        if not fleet.is_whole:
            raise UsageError("a plan over broken specs is not saved; mend them first:", *broken)
        save_plan(save, SavedPlan(paths=paths, digest=plan_digest(found), host=settings.host), lines)
    code = worst(exit_code_of(found), fleet.exit_code)
    run.answer({**plan_data(found, allowed), "problems": broken, "exit_code": int(code)}, lines)
    run.end(code)


@app.command()
@PATHS
@FLEET_OPTIONS
@with_global_options
def apply(run: Run, paths: tuple[str, ...], limit: str, strict: bool, allow: tuple[str, ...]) -> None:
    """Do what plan shows, or what a saved plan FILE says.

    Guests are started and shut down as each spec's `state` says.
    """
    from virtrbd.commands.failures import show_failures
    from virtrbd.commands.pipeline import connected, parse_allowed, report_data, report_lines, tell, tell_lints
    from virtrbd.engine.converge import converge
    from virtrbd.local.saved_plan import is_saved_plan, read_plan
    from virtrbd.specs.directory import load_fleet

    allowed, settings = parse_allowed(allow), run.settings()
    saved = read_plan(paths[0]) if is_saved_plan(paths) else None
    if saved and saved.host != settings.host:
        raise UsageError(f"{paths[0]}: is a plan for host {saved.host}, and this is {settings.host}; apply it there")
    is_own = not paths  # The settings' spec_dir, which cron works by too.
    paths = saved.paths if saved else paths_of(paths, settings)
    fleet = load_fleet(paths, settings, strict=strict or saved is not None, is_owned=is_own)
    broken = [*fleet.problems, *show_failures(run, fleet.failures)]
    say_all(run, (*fleet.warnings, *broken))
    policy = policy_of(paths, fleet, settings, limit)
    with connected(run, settings, allowed) as host:
        report = converge(
            fleet.domains,
            policy,
            host,
            "apply",
            lambda outcome: tell(run, outcome),
            check=lambda found: _check_unmoved(found, saved),
        )
    tell_lints(run, report.plan)
    code = worst(report.exit_code, fleet.exit_code)
    data = report_data(report) | {"problems": broken, "exit_code": int(code)}
    run.answer(data, report_lines(report, quiet=run.quiet))
    run.end(code)


def _absolute(paths: Sequence[str]) -> tuple[str, ...]:
    """Return the paths from the root on. Raises UsageError."""
    try:
        return tuple(map(os.path.abspath, paths))
    except FileNotFoundError:
        raise UsageError("the working directory has been removed; change to another one") from None


def _check_unmoved(found: "Plan", saved: "SavedPlan | None") -> None:
    from virtrbd.commands.plan_output import plan_digest

    if saved and plan_digest(found) != saved.digest:
        raise HypervisorError(
            "the world or the specs have moved on since this plan was saved; nothing was done. Look at it again with "
            "virtrbd plan --save"
        )
