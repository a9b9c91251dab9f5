"""The verb that retires a domain: remove."""

import click

from virtrbd.commands.app import ALLOW, Run, app, with_global_options
from virtrbd.commands.image_session import DURATION_TYPE
from virtrbd.errors import worst
from virtrbd.printable import shell_command


@app.command()
@click.argument("name")
@click.option(
    "--delay", type=DURATION_TYPE, default="14d", show_default=True, help="How long its images wait in the trash."
)
@ALLOW
@with_global_options
def remove(run: Run, name: str, delay: float, allow: tuple[str, ...]) -> None:
    """Retire a domain: shut it down, undefine it, move the images that it owns to the trash; asks for each hazard."""
    from virtrbd.commands.pipeline import connected, outcome_line, parse_allowed, tell
    from virtrbd.commands.power import locked, require_released
    from virtrbd.host.execute import execute
    from virtrbd.host.perform import perform
    from virtrbd.host.retiring import images_of
    from virtrbd.model.hazard import Hazard
    from virtrbd.model.plan import Plan
    from virtrbd.planning.retiring import plan_retirement

    allowed = parse_allowed(allow)
    with connected(run, run.settings(), allowed) as host, locked(host, name, "remove") as domain:
        require_released(domain)
        name = domain.name
        images, stay = images_of(host, domain)
        plan = plan_retirement(domain, images, host.host_uuid, delay_s=delay)
        outcomes = []
        for outcome in execute(Plan(domains=(plan,)), allowed, lambda action: perform(action, host)):
            tell(run, outcome)
            outcomes.append(outcome)
    needed = {hazard for action in plan.actions for hazard in action.hazards} - allowed
    lines = [
        f"{name}: image {ref} stays: it was the domain's by an earlier spec; "
        f"{shell_command('virtrbd image remove', ref)}"
        for ref in stay
    ]
    if needed:
        flags = ",".join(hazard for hazard in Hazard if hazard in needed | allowed)
        lines.append(f"nothing was done; {shell_command(f'virtrbd remove --allow {flags}', name)} does all of it")
    elif all(outcome.exit_code == 0 for outcome in outcomes):
        lines.append(f"{name}: retired; a spec that still names it would make it anew")
    done = [outcome_line(outcome) for outcome in outcomes]
    run.answer({"name": name, "actions": done, "images_left": [str(ref) for ref in stay]}, lines)
    run.end(worst(*(outcome.exit_code for outcome in outcomes)))
