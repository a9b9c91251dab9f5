"""A domain that the operator named: found, locked, and in the state that the verb needs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from virtrbd.domainxml.defined import DefinedDomain, require_readable
from virtrbd.domainxml.image_uses import written_images
from virtrbd.errors import BlockedError, HypervisorError
from virtrbd.hypervisor.connection import Hypervisor
from virtrbd.images.host import Host
from virtrbd.model.power import PowerState
from virtrbd.printable import cut, quoted, shell_command


def require(host: Host, name: str) -> DefinedDomain:
    """Return the domain. Raises HypervisorError when there is none, or none that can be read."""
    return require_domain(host.hypervisor, name)


def require_domain(hypervisor: Hypervisor, name: str) -> DefinedDomain:
    """Return the domain. Raises HypervisorError when there is none, or none that can be read."""
    return require_readable(find_domain(hypervisor, name))


def find_domain(hypervisor: Hypervisor, name: str) -> DefinedDomain:
    """Return the domain, with any XML. Raises HypervisorError when there is none."""
    domain = hypervisor.domain(name)
    if domain is None:
        raise HypervisorError(f"{cut(name) or quoted(name)}: no such domain on this host; see virtrbd list")
    return domain


@contextmanager
def locked(host: Host, name: str, verb: str) -> Iterator[DefinedDomain]:
    """Lock a domain that the operator named, by name or UUID, with the images that it writes, for the verb.

    Raises HypervisorError, BusyError.
    """
    # The lock is the name's, also where the operator gave a UUID.
    found = require(host, name)
    images = map(str, written_images(found.definition.tree))
    with host.state.locked([found.name, *images], verb):
        yield require(host, found.uuid)


def require_released(domain: DefinedDomain) -> None:
    """Raise BlockedError while the domain is held."""
    mark = domain.definition.mark
    if mark and mark.hold and mark.hold.holds_at(time.time()):
        way_out = shell_command("virtrbd release", domain.name)
        raise BlockedError(f"{domain.name}: is held{mark.hold.reason_text}; {way_out} ends that")


def require_awake(domain: DefinedDomain) -> None:
    """Raise HypervisorError when the guest is paused: it does not react until it is resumed."""
    if domain.state is PowerState.PAUSED:
        raise HypervisorError(f"{domain.name}: is paused; {shell_command('virsh resume', domain.name)} resumes it")
