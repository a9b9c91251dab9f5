"""Power verbs: what they have in common."""

import time

from virtrbd.domainxml.parse import parse_disks
from virtrbd.errors import HypervisorError
from virtrbd.host.perform import Host
from virtrbd.model.domain import DefinedDomain


def require(host: Host, name: str) -> DefinedDomain:
    """Return the domain. Raises HypervisorError when there is none."""
    domain = host.hypervisor.domain(name)
    if domain is None:
        raise HypervisorError(f"{name}: no such domain on this host; see virtrbd list")
    return domain


def await_off(host: Host, uuid: str, timeout_s: float) -> bool:
    """Wait until the domain has no QEMU any more; return whether that came to be in time."""
    give_up_at = time.monotonic() + timeout_s
    while True:
        domain = host.hypervisor.domain(uuid)
        if domain is None or not domain.state.is_active:
            return True
        if time.monotonic() >= give_up_at:
            return False
        time.sleep(0.2)


def note_clean_stop(host: Host, domain: DefinedDomain) -> None:
    """Say on the images that this host let go of them, so that another may start them without taking over."""
    images = [disk.image for disk in parse_disks(domain.definition) if disk.is_written and disk.image]
    held = [ref for ref in images if (image := host.cluster.image(ref)) and image.running_on == host.host_uuid]
    host.cluster.set_running(held, "")
