"""The verb `hook status`: whether libvirt's own starts pass the start gate."""

from __future__ import annotations

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.errors import ExitCode
from virtrbd.lazily import lazily

with lazily():
    from virtrbd.commands.output.hook import hook_data, hook_lines, is_at_work
    from virtrbd.hook.installed import look, require_own_libvirt
    from virtrbd.hook.program import program_of
    from virtrbd.hypervisor.connection import Hypervisor


@verb
def status(run: Run) -> None:
    """Show whether starts by virsh and autostart pass the gate."""
    settings = run.settings()
    require_own_libvirt(settings.connect)
    with Hypervisor.connect(settings) as hypervisor:
        hook = look(settings, program_of(settings, hypervisor.host_uuid()))
    run.answer({"hook": hook_data(hook)}, hook_lines(hook))
    run.end(ExitCode.OK if is_at_work(hook) else ExitCode.DRIFT)
