"""The verbs about specs: validate, define."""

import click

from virtrbd.commands.app import ALLOW, Run, app, with_global_options
from virtrbd.commands.fleet_options import say_all

FILES = click.argument("files", nargs=-1, required=True, type=click.Path(readable=False))


@app.command()
@FILES
@with_global_options
def validate(run: Run, files: tuple[str, ...]) -> None:
    """Check spec files; needs neither libvirt nor Ceph."""
    from virtrbd.specs.load import load
    from virtrbd.specs.ownership import ownership_warnings
    from virtrbd.specs.resolve import resolve

    settings = run.settings()
    say_all(run, ownership_warnings((), settings))
    domains = resolve(load(files, settings), settings)
    run.answer(
        {"domains": [{"name": domain.name, "origin": domain.origin, "host": domain.host} for domain in domains]},
        [f"{domain.name}: valid ({domain.origin})" for domain in domains],
    )


@app.command()
@FILES
@click.option("--start", is_flag=True, help="Start the domains that do not run.")
@ALLOW
@with_global_options
def define(run: Run, files: tuple[str, ...], start: bool, allow: tuple[str, ...]) -> None:
    """Make images, secret and definition as specs say.

    Run again, it finds nothing to do.
    """
    from virtrbd.commands.pipeline import connected, parse_allowed, report_data, report_lines, tell, tell_lints
    from virtrbd.engine.converge import converge
    from virtrbd.planning.plan import Policy
    from virtrbd.specs.desired import desired_domains
    from virtrbd.specs.ownership import ownership_warnings

    allowed = parse_allowed(allow)
    settings = run.settings()
    say_all(run, ownership_warnings(files, settings))
    domains = desired_domains(files, settings)
    policy = Policy(host=settings.host, start=start, template_dir=settings.template_dir)
    with connected(run, settings, allowed) as host:
        report = converge(domains, policy, host, "define", lambda outcome: tell(run, outcome))
    tell_lints(run, report.plan)
    run.answer(report_data(report), report_lines(report, quiet=run.quiet))
    run.end(report.exit_code)
