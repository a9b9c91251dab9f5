"""The verb `console`: the guest's serial console, by virsh."""

from __future__ import annotations

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.domains import NAME
from virtrbd.errors import HypervisorError, UsageError
from virtrbd.lazily import lazily
from virtrbd.printable import shell_command

with lazily():
    from virtrbd.commands.connected.named import require_domain
    from virtrbd.commands.output.terminal import lend_terminal
    from virtrbd.domainxml.parse import parse_console
    from virtrbd.hypervisor.connection import Hypervisor


@verb
@NAME
def console(run: Run, name: str) -> None:
    """Open the guest's serial console; leave it with Ctrl-].

    virsh serves the terminal.
    """
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
