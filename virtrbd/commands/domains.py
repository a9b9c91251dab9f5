"""The verbs about domains that exist: list, inspect, power, undefine, console."""

import time

import click

from virtrbd.commands.app import ALLOW, Run, SecondsRange, app, with_global_options
from virtrbd.commands.retiring import FORGET_SNAPSHOTS
from virtrbd.errors import BlockedError, ClusterError, HypervisorError, UsageError, worst
from virtrbd.printable import shell_command

NAME = click.argument("name")


@app.command(name="list")
@with_global_options
def list_domains(run: Run) -> None:
    """List the domains of this host."""
    from virtrbd.commands.domain_list import list_data, list_lines, listed
    from virtrbd.commands.failures import show_trace
    from virtrbd.commands.printing import print_lines
    from virtrbd.errors import worst
    from virtrbd.hypervisor.connection import Hypervisor

    with Hypervisor.connect(run.settings()) as hypervisor:
        domains = hypervisor.domains()
    rows = listed(domains, time.time())
    run.answer({"domains": [list_data(row) for row in rows]}, list_lines(rows))
    failed = {row.name: row.failure for row in rows if row.failure}
    for name, failure in failed.items():
        if not run.is_json:
            print_lines([f"{name}: cannot be read: {failure.text}"], to_stderr=True)
        show_trace(run, name, failure.trace)
    run.end(worst(*(failure.exit_code for failure in failed.values())))


@app.command()
@NAME
@with_global_options
def inspect(run: Run, name: str) -> None:
    """Show a domain and its images on one screen."""
    from virtrbd.commands.inspection import inspection, inspection_lines
    from virtrbd.commands.pipeline import connected

    with connected(run, run.settings()) as host:
        data = inspection(host, name)
    run.answer({"domain": data}, inspection_lines(data))


@app.command()
@NAME
@ALLOW
@with_global_options
def start(run: Run, name: str, allow: tuple[str, ...]) -> None:
    """Start a domain, if no other client has its images open."""
    from virtrbd.commands.pipeline import connected, parse_allowed
    from virtrbd.commands.power import locked, require_awake, require_released
    from virtrbd.engine.power import start_domain
    from virtrbd.engine.writers import writers_told

    allowed = parse_allowed(allow)
    with connected(run, run.settings(), allowed) as host, locked(host, name, "start") as domain:
        require_awake(domain)
        require_released(domain)
        if domain.state.is_active:
            if twice := writers_told(host, domain):
                raise ClusterError(*(f"{domain.name}: runs already, and {text}" for text in twice))
            state = domain.state.value
            run.answer_change({"name": name, "state": state}, [f"{name}: runs already"], changed=False)
            return
        start_domain(domain.uuid, host)
    run.answer_change({"name": name, "state": "running"}, [f"{name}: started"], changed=True)


@app.command()
@NAME
@click.option(
    "--timeout", type=SecondsRange(0, 86400), default=60.0, show_default=True, help="Seconds to wait for the guest."
)
@with_global_options
def shutdown(run: Run, name: str, timeout: float) -> None:
    """Ask the guest to shut down, and wait for it.

    A guest that does not answer is never destroyed.
    """
    from virtrbd.commands.pipeline import connected
    from virtrbd.commands.power import require, require_awake
    from virtrbd.engine.power import note_clean_stop, shut_down

    with connected(run, run.settings()) as host:
        domain = require(host, name)
        require_awake(domain)
        changed = domain.state.is_active
        if changed:
            shut_down(domain.uuid, host, timeout)
        else:
            note_clean_stop(host, domain)
    run.answer_change(
        {"name": name, "state": "shut off"},
        [f"{name}: shut down" if changed else f"{name}: is shut off already"],
        changed=changed,
    )


@app.command()
@NAME
@with_global_options
def reboot(run: Run, name: str) -> None:
    """Ask the guest to reboot."""
    from virtrbd.commands.pipeline import connected
    from virtrbd.commands.power import require, require_awake

    with connected(run, run.settings()) as host:
        domain = require(host, name)
        require_awake(domain)
        if not domain.state.is_active:
            raise HypervisorError(
                f"{name}: is {domain.state.value}; start it with {shell_command('virtrbd start', name)}"
            )
        host.hypervisor.reboot(domain.uuid)
    run.answer({"name": name, "asked": "reboot"}, [f"{name}: asked to reboot"])


@app.command()
@NAME
@ALLOW
@with_global_options
def destroy(run: Run, name: str, allow: tuple[str, ...]) -> None:
    """End the guest at once, as a power cut does.

    The definition and the images stay.
    """
    from virtrbd.commands.failures import having_done
    from virtrbd.commands.pipeline import connected, parse_allowed
    from virtrbd.commands.power import find_domain
    from virtrbd.domainxml.parse import require_readable
    from virtrbd.engine.power import await_off, note_clean_stop
    from virtrbd.model.hazard import Hazard

    allowed = parse_allowed(allow)
    with connected(run, run.settings(), allowed) as host:
        domain = find_domain(host.hypervisor, name)
        changed = domain.state.is_active
        if changed and Hazard.INTERRUPTS_GUEST not in allowed:
            raise BlockedError(f"{name}: runs, and destroying it is a power cut; --allow interrupts-guest does it")
        if changed:
            host.hypervisor.destroy(domain.uuid)
            await_off(host, domain.uuid, host.settings.timeouts.libvirt)
        # A guest whose definition cannot be read can be destroyed; which images it let go of is not known then.
        with having_done(_ended(name) if changed else ""):
            note_clean_stop(host, require_readable(domain))
    run.answer_change(
        {"name": name, "state": "shut off"},
        [f"{name}: destroyed" if changed else f"{name}: is shut off already"],
        changed=changed,
    )


def _ended(name: str) -> str:
    way_out = shell_command("virtrbd shutdown", name)
    return f"{name}: the guest was ended; {way_out} notes on its images that it was, which another host waits for"


@app.command()
@NAME
@click.option("--trash-images", is_flag=True, help="Also move the images that it owns to the trash, for 14 days.")
@FORGET_SNAPSHOTS
@ALLOW
@with_global_options
def undefine(run: Run, name: str, trash_images: bool, forget_snapshots: bool, allow: tuple[str, ...]) -> None:
    """Forget a domain that is shut off; its images stay.

    With --trash-images those that it owns go to the trash.
    """
    from virtrbd.commands.pipeline import connected, parse_allowed, tell
    from virtrbd.commands.power import locked, require_released
    from virtrbd.commands.undefinition import finish_undefining, undefine_domain

    allowed = parse_allowed(allow)
    with connected(run, run.settings(), allowed) as host:
        rest = finish_undefining(host, name) if trash_images else None
        if rest:
            failed, lines = rest
        else:
            with locked(host, name, "undefine") as domain:
                require_released(domain)
                name = domain.name
                failed, lines = undefine_domain(
                    host, domain, trash_images=trash_images, forget_snapshots=forget_snapshots
                )
    for outcome in failed:
        tell(run, outcome)
    run.answer({"name": name, "done": lines}, [f"{name}: {line}" for line in lines])
    run.end(worst(*(outcome.exit_code for outcome in failed)))


@app.command()
@NAME
@with_global_options
def console(run: Run, name: str) -> None:
    """Open the guest's serial console; leave it with Ctrl-].

    virsh serves the terminal.
    """
    from virtrbd.commands.power import require_domain
    from virtrbd.commands.terminal import lend_terminal
    from virtrbd.domainxml.parse import parse_console
    from virtrbd.hypervisor.connection import Hypervisor

    settings = run.settings()
    with Hypervisor.connect(settings) as hypervisor:
        domain = require_domain(hypervisor, name)
    if not domain.live:
        raise HypervisorError(f"{name}: is not running; start it with {shell_command('virtrbd start', name)}")
    pty = parse_console(domain.live)
    if not pty:
        raise UsageError(f"{name}: has no serial console; write serial_console: true and define it again")
    if run.is_json:
        run.answer({"name": name, "pty": pty}, [])
        return
    lend_terminal(name, ["virsh", "--connect", settings.connect, "console", "--safe", domain.uuid])
