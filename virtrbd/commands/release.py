"""The verb `release`: the end of a hold."""

from __future__ import annotations

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.domains import DOMAIN
from virtrbd.lazily import lazily
from virtrbd.model.record import replace

with lazily():
    from virtrbd.commands.connected.named import require_domain
    from virtrbd.hypervisor.connection import Hypervisor


@verb
@DOMAIN
def release(run: Run, name: str) -> None:
    """End a hold."""
    with Hypervisor.connect(run.settings()) as hypervisor:
        domain = require_domain(hypervisor, name)
        mark = domain.definition.mark
        changed = bool(mark and mark.hold)
        if changed:
            hypervisor.set_mark(domain.uuid, lambda mark: replace(mark, hold=None))
    run.answer_change({"name": name}, [f"{name}: {'released' if changed else 'is not held'}"], changed=changed)
