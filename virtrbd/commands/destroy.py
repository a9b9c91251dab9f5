"""The verb `destroy`: end the guest at once."""

from __future__ import annotations

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.allow import ALLOW, parse_allowed
from virtrbd.commands.options.domains import NAME
from virtrbd.errors import BlockedError
from virtrbd.lazily import lazily
from virtrbd.printable import shell_command

with lazily():
    from virtrbd.commands.connected.host import connected
    from virtrbd.commands.connected.named import find_domain
    from virtrbd.commands.output.failures import having_done
    from virtrbd.domainxml.defined import require_readable
    from virtrbd.engine.power import await_off, note_clean_stop
    from virtrbd.model.hazard import Hazard


@verb
@NAME
@ALLOW
def destroy(run: Run, name: str, allow: tuple[str, ...]) -> None:
    """End the guest at once, like a power cut.

    The definition and the images are kept.
    """
    allowed = parse_allowed(allow)
    with connected(run, run.settings(), allowed) as host:
        domain = find_domain(host.hypervisor, name)
        changed = domain.state.is_active
        if changed and Hazard.INTERRUPTS_GUEST not in allowed:
            raise BlockedError(f"{name}: runs, and destroying it is like a power cut; --allow interrupts-guest does it")
        if changed:
            host.hypervisor.destroy(domain.uuid)
            await_off(host, domain.uuid, host.settings.timeouts.libvirt)
        # A guest whose definition cannot be read can be destroyed; the images that it released are unknown then.
        with having_done(_ended(name) if changed else ""):
            note_clean_stop(host, require_readable(domain))
    run.answer_change(
        {"name": name, "state": "shut off"},
        [f"{name}: destroyed" if changed else f"{name}: is shut off already"],
        changed=changed,
    )


def _ended(name: str) -> str:
    way_out = shell_command("virtrbd shutdown", name)
    return f"{name}: the guest was ended; {way_out} records that on its images, which another host needs"
