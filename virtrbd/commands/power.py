"""Power verbs: what they have in common."""

from virtrbd.errors import HypervisorError
from virtrbd.host.host import Host
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
