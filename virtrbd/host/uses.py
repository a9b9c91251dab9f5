"""Which images the domains of this host use."""

from virtrbd.contained import contained
from virtrbd.domainxml.parse import parse_disks
from virtrbd.errors import VirtrbdError
from virtrbd.hypervisor.connection import Hypervisor
from virtrbd.model.domain import DefinedDomain
from virtrbd.planning.use import DomainUse


def read_uses(hypervisor: Hypervisor) -> tuple[DomainUse, ...]:
    """Return what each domain names, in its definition and, where one runs, in its live XML."""
    domains = hypervisor.domains()
    unread = (
        DomainUse(name=domain.name, uuid=domain.uuid, state=domain.state, unread=domain.failure.text)
        for domain in domains.unread
    )
    return (*map(use_of, domains.read), *unread)


def use_of(domain: DefinedDomain) -> DomainUse:
    """Return what the domain names; one whose XML cannot be read is a use of what its text names."""
    documents = [xml for xml in (domain.definition, domain.live) if xml]
    name, uuid, state = domain.name, domain.uuid, domain.state
    try:
        with contained(f"reading the disks of domain {domain.name}"):
            refs = frozenset(disk.image for xml in documents for disk in parse_disks(xml) if disk.image)
    except VirtrbdError as error:
        return DomainUse(name=name, uuid=uuid, state=state, unread=str(error), text="".join(documents))
    return DomainUse(name=name, uuid=uuid, state=state, refs=refs)
