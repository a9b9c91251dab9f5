"""The verb `hook remove`: libvirt's starts without the start gate."""

from __future__ import annotations

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.lazily import lazily

with lazily():
    from virtrbd.hook.installed import file_of
    from virtrbd.hook.installed import remove as remove_hook


@verb
def remove(run: Run) -> None:
    """Let starts by virsh and autostart pass no gate.

    Removes virtrbd's own program from libvirt's folder of hooks; needs neither libvirt nor Ceph.
    """
    settings = run.settings()
    file = str(file_of(settings))
    changed = remove_hook(settings)
    line = f"{file}: {'removed' if changed else 'is not there'}"
    run.answer_change({"file": file}, [line], changed=changed)
