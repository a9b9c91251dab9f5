"""The verb `shutdown`: ask the guest to shut down, and wait for it."""

from __future__ import annotations

import click

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.domains import NAME
from virtrbd.commands.options.types import SecondsRange
from virtrbd.lazily import lazily

with lazily():
    from virtrbd.commands.connected.host import connected
    from virtrbd.commands.connected.named import require, require_awake
    from virtrbd.engine.power import note_clean_stop, shut_down


@verb
@NAME
@click.option(
    "--timeout", type=SecondsRange(0, 86400), default=60.0, show_default=True, help="Seconds to wait for the guest."
)
def shutdown(run: Run, name: str, timeout: float) -> None:
    """Ask the guest to shut down, and wait for it.

    A guest that does not answer is never destroyed.
    """
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
