"""Guests that start and stop, and what their images say of where they are."""

import time
from functools import partial

from virtrbd.ceph.images import read_image, set_running
from virtrbd.domainxml.image_uses import argument_images, written_images
from virtrbd.domainxml.mark import read_mark
from virtrbd.domainxml.tree import parse_tree
from virtrbd.errors import BlockedError, HypervisorError
from virtrbd.host.gate import through_gate
from virtrbd.host.host import Host
from virtrbd.model.domain import DefinedDomain, PowerState
from virtrbd.model.image import ImageRef
from virtrbd.printable import shell_command

_LOOK_EVERY_S = 0.2


def start_domain(domain_uuid: str, host: Host) -> None:
    """Start a domain through the start gate. Raises HypervisorError, ImageBusyError, BlockedError, UnavailableError."""
    definition = host.hypervisor.definition(domain_uuid)
    if definition is None:
        raise HypervisorError(f"domain {domain_uuid} is gone; define it again")
    mark = read_mark(definition)
    if mark and mark.hold and mark.hold.holds_at(time.time()):
        # Since the plan was made.
        raise BlockedError("somebody holds it now; virtrbd release ends that")
    tree = parse_tree(definition)
    through_gate(
        host.cluster,
        written_images(tree),
        partial(host.hypervisor.start, domain_uuid),
        unsure=argument_images(tree),
        host_uuid=host.host_uuid,
        allowed=host.allowed,
        wait_s=host.settings.timeouts.watcher,
        say=host.say,
    )


def shut_down(domain_uuid: str, host: Host, timeout_s: float) -> None:
    """Ask the guest to shut down, and wait. It is never destroyed.

    Raises HypervisorError when it does not, or is paused.
    """
    domain = host.hypervisor.domain(domain_uuid)
    if domain is None or not domain.state.is_active:
        return
    if domain.state is PowerState.PAUSED:
        raise HypervisorError(
            f"the guest is paused and hears nothing; {shell_command('virsh resume', domain.name)} lets it go on"
        )
    # Before it stops: what cannot be read could not be noted afterwards.
    _written_images(domain)
    host.hypervisor.shutdown(domain.uuid)
    if not await_off(host, domain.uuid, timeout_s):
        # Who does not answer is the guest: libvirt and Ceph do, so a run later is no way out by itself.
        raise HypervisorError(
            f"the guest of {domain.name} did not shut down within {timeout_s:g} s and still runs; look at "
            f"{shell_command('virtrbd console', domain.name)}, or end it with "
            f"{shell_command('virtrbd destroy', domain.name, options='--allow interrupts-guest')}"
        )
    note_clean_stop(host, domain)


def await_off(host: Host, uuid: str, timeout_s: float) -> bool:
    """Wait until the domain has no QEMU any more; return whether that came to be in time."""
    # click's range lets nan through, and nothing is later than that.
    timeout_s = timeout_s if timeout_s >= 0 else 0.0
    give_up_at = time.monotonic() + timeout_s
    while True:
        domain = host.hypervisor.domain(uuid)
        if domain is None or not domain.state.is_active:
            return True
        if time.monotonic() >= give_up_at:
            return False
        time.sleep(_LOOK_EVERY_S)


def note_clean_stop(host: Host, domain: DefinedDomain) -> None:
    """Say on the images that this host let go of them, so that another may start them without taking over.

    Raises HypervisorError when it did not: a managed save holds memory that belongs to the disks as they are.
    """
    now = host.hypervisor.domain(domain.uuid)
    if now and now.state is PowerState.SAVED:
        raise HypervisorError(
            f"{now.name}: holds a managed save; resume it with {shell_command('virtrbd start', now.name)}, "
            f"or drop it with {shell_command('virsh managedsave-remove', now.name)}"
        )
    if now and now.state.is_active:
        raise HypervisorError(f"{now.name}: is {now.state.value} again; somebody started it meanwhile")
    images = _written_images(domain)
    held = [ref for ref in images if (image := read_image(host.cluster, ref)) and image.running_on == host.host_uuid]
    set_running(host.cluster, held, "")


def _written_images(domain: DefinedDomain) -> tuple[ImageRef, ...]:
    return written_images(parse_tree(domain.definition))
