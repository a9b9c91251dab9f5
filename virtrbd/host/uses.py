"""Which images the domains of this host use."""

from virtrbd.domainxml.parse import parse_disks
from virtrbd.hypervisor.connection import Hypervisor
from virtrbd.planning.use import DomainUse


def read_uses(hypervisor: Hypervisor) -> tuple[DomainUse, ...]:
    """Return what each domain names, in its definition and, where one runs, in its live XML."""
    return tuple(
        DomainUse(
            name=domain.name,
            uuid=domain.uuid,
            state=domain.state,
            refs=frozenset(
                disk.image for xml in (domain.definition, domain.live) if xml for disk in parse_disks(xml) if disk.image
            ),
        )
        for domain in hypervisor.domains()
    )
