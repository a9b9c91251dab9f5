"""The verb `reboot`: ask the guest to reboot."""

from __future__ import annotations

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.domains import NAME
from virtrbd.errors import HypervisorError
from virtrbd.lazily import lazily
from virtrbd.printable import shell_command

with lazily():
    from virtrbd.commands.connected.host import connected
    from virtrbd.commands.connected.named import require, require_awake


@verb
@NAME
def reboot(run: Run, name: str) -> None:
    """Ask the guest to reboot."""
    with connected(run, run.settings()) as host:
        domain = require(host, name)
        require_awake(domain)
        if not domain.state.is_active:
            raise HypervisorError(
                f"{name}: is {domain.state.value}; start it with {shell_command('virtrbd start', name)}"
            )
        host.hypervisor.reboot(domain.uuid)
    run.answer({"name": name, "asked": "reboot"}, [f"{name}: asked to reboot"])
