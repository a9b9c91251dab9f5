"""The verb `hook install`: the start gate behind libvirt's own starts."""

from __future__ import annotations

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.lazily import lazily

with lazily():
    from virtrbd.commands.output.hook import hook_data, hook_lines
    from virtrbd.hook.installed import install as install_hook
    from virtrbd.hook.installed import look, require_found, require_own_libvirt
    from virtrbd.hook.program import program_of
    from virtrbd.hypervisor.connection import Hypervisor


@verb
def install(run: Run) -> None:
    """Let starts by virsh and autostart pass the start gate.

    Writes a program into libvirt's folder of hooks, with this virtrbd, its Python and its settings file in it. Run it
    again after each of them was replaced.
    """
    settings = run.settings()
    require_own_libvirt(settings.connect)
    with Hypervisor.connect(settings) as hypervisor:
        wanted = program_of(settings, hypervisor.host_uuid())
    require_found(wanted.python)
    changed = install_hook(settings, wanted)
    hook = look(settings, wanted)
    run.answer_change({"hook": hook_data(hook)}, hook_lines(hook), changed=changed)
