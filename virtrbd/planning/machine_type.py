"""The machine type of a domain: where the spec leaves it open, libvirt chose it at the first define, and it stays."""

from collections.abc import Sequence
from contextlib import suppress

from virtrbd.domainxml.defined import DefinedDomain
from virtrbd.errors import DocumentError
from virtrbd.model.domain import Domain

CapabilitiesKey = tuple[str, str]

_FAMILIES = {"pc": "pc-i440fx-", "q35": "pc-q35-"}


def capabilities_key(domain: Domain, defined: DefinedDomain | None) -> CapabilitiesKey:
    """Return the hypervisor type and the machine that the domain is rendered for."""
    if defined and not domain.machine_upgrade:
        pinned = defined.definition.machine
        if pinned.startswith(_FAMILIES.get(domain.machine, "\n")):
            return domain.hypervisor, pinned
    return domain.hypervisor, domain.machine


def capabilities_of_interest(
    domains: Sequence[Domain], defined: Sequence[DefinedDomain]
) -> tuple[CapabilitiesKey, ...]:
    """Return all hypervisor types and machines that a run may have to render for, sorted."""
    by_uuid, by_name = {found.uuid: found for found in defined}, {found.name: found for found in defined}
    keys = set()
    for domain in domains:
        # A domain whose definition cannot be read is not rendered either; its plan says why.
        with suppress(DocumentError):
            keys.add(capabilities_key(domain, by_uuid.get(domain.uuid) or by_name.get(domain.name)))
    return tuple(sorted(keys))
