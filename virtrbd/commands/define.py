"""The verb `define`: make images, secret and definition as specs say."""

from __future__ import annotations

import click

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.allow import ALLOW, parse_allowed
from virtrbd.commands.options.specs import FILES
from virtrbd.lazily import lazily

with lazily():
    from virtrbd.commands.connected.host import connected
    from virtrbd.commands.output.report import report_data, report_lines, show_lints, show_outcome
    from virtrbd.engine.converge import Supervision, converge
    from virtrbd.planning.policy import Policy
    from virtrbd.specs.desired import desired_domains
    from virtrbd.specs.ownership import ownership_warnings


@verb
@FILES
@click.option("--start", is_flag=True, help="Start the domains that do not run.")
@ALLOW
def define(run: Run, files: tuple[str, ...], start: bool, allow: tuple[str, ...]) -> None:
    """Make images, secret and definition as specs say.

    Run again, it finds nothing to do.
    """
    allowed = parse_allowed(allow)
    settings = run.settings()
    run.say(*ownership_warnings(files, settings))
    domains = desired_domains(files, settings)
    policy = Policy(host=settings.host, start=start, template_dir=settings.template_dir)
    with connected(run, settings, allowed) as host:
        report = converge(
            domains, policy, host, "define", Supervision(report=lambda outcome: show_outcome(run, outcome))
        )
    show_lints(run, report.plan)
    run.answer(report_data(report), report_lines(report, quiet=run.quiet))
    run.end(report.exit_code)
