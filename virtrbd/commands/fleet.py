"""The verbs over all specs that a person runs: plan, apply."""

import os
from typing import TYPE_CHECKING

import click

from virtrbd.commands.app import FILE_TYPE, Run, app, with_global_options
from virtrbd.commands.fleet_options import FLEET_OPTIONS, PATHS, paths_of, policy_of
from virtrbd.errors import ExitCode, HypervisorError, UsageError, worst

if TYPE_CHECKING:
    from virtrbd.model.plan import Plan


@app.command()
@PATHS
@click.option("--save", type=FILE_TYPE, metavar="FILE", default="", help="Keep the plan in a file that apply takes.")
@FLEET_OPTIONS
@with_global_options
def plan(run: Run, paths: tuple[str, ...], save: str, limit: str, strict: bool, allow: tuple[str, ...]) -> None:
    """Say what differs from the specs and what would be done about it; change nothing."""
    from virtrbd.commands.pipeline import connected, parse_allowed, show_trace, tell_lints
    from virtrbd.commands.plan_output import SavedPlan, exit_code_of, plan_data, plan_digest, plan_lines, save_plan
    from virtrbd.host.converge import look
    from virtrbd.spec.fleet import load_fleet

    allowed, settings = parse_allowed(allow), run.settings()
    paths = paths_of(paths, settings)
    if save:
        # apply takes them from any folder; and what names a file must read the same then.
        paths = tuple(map(os.path.abspath, paths))
    fleet = load_fleet(paths, settings, strict=strict)
    policy = policy_of(paths, fleet, settings, limit)
    with connected(run, settings, allowed) as host:
        found = look(fleet.domains, policy, host)
    tell_lints(run, found)
    for domain in found.domains:
        for failure in domain.failures:
            show_trace(run, domain.name, failure.trace)
    lines = [*fleet.problems, *plan_lines(found, allowed)]
    if save:
        if fleet.problems:
            raise UsageError("a plan over broken specs is not saved; mend them first:", *fleet.problems)
        save_plan(save, SavedPlan(paths=paths, digest=plan_digest(found), host=settings.host), lines)
    code = worst(exit_code_of(found), ExitCode.SPEC if fleet.problems else ExitCode.OK)
    run.answer({**plan_data(found, allowed), "problems": list(fleet.problems), "exit_code": int(code)}, lines)
    run.end(code)


@app.command()
@PATHS
@FLEET_OPTIONS
@with_global_options
def apply(run: Run, paths: tuple[str, ...], limit: str, strict: bool, allow: tuple[str, ...]) -> None:
    """Do what plan says, or what a plan FILE that it saved says; power by each spec's `state`."""
    from virtrbd.commands.pipeline import connected, parse_allowed, report_data, report_lines, tell, tell_lints
    from virtrbd.commands.plan_output import is_saved_plan, read_plan
    from virtrbd.host.converge import converge
    from virtrbd.spec.fleet import load_fleet

    allowed, settings = parse_allowed(allow), run.settings()
    saved = read_plan(paths[0]) if is_saved_plan(paths) else None
    if saved and saved.host != settings.host:
        raise UsageError(f"{paths[0]}: is a plan for host {saved.host}, and this is {settings.host}; apply it there")
    paths = saved.paths if saved else paths_of(paths, settings)
    fleet = load_fleet(paths, settings, strict=strict or saved is not None)
    for problem in fleet.problems:
        run.say(problem)
    policy = policy_of(paths, fleet, settings, limit)
    digest = saved.digest if saved else ""
    with connected(run, settings, allowed) as host:
        report = converge(
            fleet.domains,
            policy,
            host,
            "apply",
            lambda outcome: tell(run, outcome),
            check=lambda found: _check_digest(found, digest),
        )
    tell_lints(run, report.plan)
    code = worst(report.exit_code, ExitCode.SPEC if fleet.problems else ExitCode.OK)
    data = report_data(report) | {"problems": list(fleet.problems), "exit_code": int(code)}
    run.answer(data, report_lines(report))
    run.end(code)


def _check_digest(found: "Plan", digest: str) -> None:
    from virtrbd.commands.plan_output import plan_digest

    if digest and plan_digest(found) != digest:
        raise HypervisorError(
            "the world or the specs have moved on since this plan was saved; nothing was done. Look at it again with "
            "virtrbd plan --save"
        )
