"""Power verbs: what they have in common."""

import time

from virtrbd.ceph.images import read_image, set_running
from virtrbd.domainxml.parse import parse_disks
from virtrbd.errors import HypervisorError
from virtrbd.host.perform import Host
from virtrbd.model.domain import DefinedDomain, PowerState


def require(host: Host, name: str) -> DefinedDomain:
    """Return the domain. Raises HypervisorError when there is none."""
    domain = host.hypervisor.domain(name)
    if domain is None:
        raise HypervisorError(f"{name}: no such domain on this host; see virtrbd list")
    return domain


def require_awake(domain: DefinedDomain) -> None:
    """Raise HypervisorError when the guest is paused: it hears nothing until somebody resumes it."""
    if domain.state is PowerState.PAUSED:
        raise HypervisorError(f"{domain.name}: is paused; virsh resume {domain.name} lets it go on")


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
        time.sleep(0.2)


def note_clean_stop(host: Host, domain: DefinedDomain) -> None:
    """Say on the images that this host let go of them, so that another may start them without taking over.

    Raises HypervisorError when it did not: a managed save holds memory that belongs to the disks as they are.
    """
    now = host.hypervisor.domain(domain.uuid)
    if now and now.state is PowerState.SAVED:
        raise HypervisorError(
            f"{now.name}: holds a managed save; resume it with virtrbd start {now.name}, "
            f"or drop it with virsh managedsave-remove {now.name}"
        )
    if now and now.state.is_active:
        raise HypervisorError(f"{now.name}: is {now.state.value} again; somebody started it meanwhile")
    images = [disk.image for disk in parse_disks(domain.definition) if disk.is_written and disk.image]
    held = [ref for ref in images if (image := read_image(host.cluster, ref)) and image.running_on == host.host_uuid]
    set_running(host.cluster, held, "")
