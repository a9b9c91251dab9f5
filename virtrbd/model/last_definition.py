"""The definition that virtrbd last saw of a domain, as the state directory keeps it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LastDefinition:
    """A definition as libvirt gave it back when virtrbd last looked, and the hypervisor's digest at that time."""

    xml: str
    hypervisor: str
