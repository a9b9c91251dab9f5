"""The definition that virtrbd last saw of a domain, as the state directory keeps it."""

from msgspec import Struct


class LastDefinition(Struct, frozen=True, kw_only=True):
    """A definition as libvirt gave it back when virtrbd last looked, and the hypervisor's digest at that time."""

    xml: str
    hypervisor: str
