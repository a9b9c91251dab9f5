"""The verb `apply`: do what plan shows, or what a saved plan says."""

from __future__ import annotations

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.allow import parse_allowed
from virtrbd.commands.options.specs import FLEET_OPTIONS, PATHS, paths_of
from virtrbd.errors import HypervisorError, UsageError, worst
from virtrbd.lazily import lazily

with lazily():
    from virtrbd.commands.connected.host import connected
    from virtrbd.commands.connected.specs import policy_of
    from virtrbd.commands.output.failures import show_failures
    from virtrbd.commands.output.plan import plan_digest
    from virtrbd.commands.output.report import report_data, report_lines, show_lints, show_outcome
    from virtrbd.engine.converge import Supervision, converge
    from virtrbd.local.saved_plan import SavedPlan, is_saved_plan, read_plan
    from virtrbd.model.plan import Plan
    from virtrbd.specs.directory import load_fleet


@verb
@PATHS
@FLEET_OPTIONS
def apply(run: Run, paths: tuple[str, ...], limit: str, strict: bool, allow: tuple[str, ...]) -> None:
    """Do what plan shows, or what a saved plan FILE says.

    Guests are started and shut down as each spec's `state` says.
    """
    allowed, settings = parse_allowed(allow), run.settings()
    saved = read_plan(paths[0]) if is_saved_plan(paths) else None
    if saved and saved.host != settings.host:
        raise UsageError(f"{paths[0]}: is a plan for host {saved.host}, but this is {settings.host}; apply it there")
    is_own = not paths  # The settings' spec_dir, which cron works by too.
    paths = saved.paths if saved else paths_of(paths, settings)
    fleet = load_fleet(paths, settings, strict=strict or saved is not None, is_owned=is_own)
    broken = [*fleet.problems, *show_failures(run, fleet.failures)]
    run.say(*fleet.warnings, *broken)
    policy = policy_of(paths, fleet, settings, limit)
    with connected(run, settings, allowed) as host:
        supervision = Supervision(
            report=lambda outcome: show_outcome(run, outcome), check=lambda found: _check_unmoved(found, saved)
        )
        report = converge(fleet.domains, policy, host, "apply", supervision)
    show_lints(run, report.plan)
    code = worst(report.exit_code, fleet.exit_code)
    data = report_data(report) | {"problems": broken, "exit_code": int(code)}
    run.answer(data, report_lines(report, quiet=run.quiet))
    run.end(code)


def _check_unmoved(found: Plan, saved: SavedPlan | None) -> None:
    if saved and plan_digest(found) != saved.digest:
        raise HypervisorError(
            "the world or the specs have changed since this plan was saved; nothing was done. Make a new plan with "
            "virtrbd plan --save"
        )
