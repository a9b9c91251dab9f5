"""Domains of a host as libvirt holds them: read, or there and not readable."""

from dataclasses import dataclass

from virtrbd.model.domain import PowerState
from virtrbd.model.failure import Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class DefinedDomain:
    """A domain as libvirt holds it. `definition` is the persistent XML, `live` the running one or empty."""

    name: str
    uuid: str
    state: PowerState
    definition: str
    live: str = ""
    autostart: bool = False
    persistent: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadDomain:
    """A domain that libvirt has and virtrbd cannot read: its devices, and the images that it uses, are unknown."""

    name: str
    uuid: str
    state: PowerState
    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class HostDomains:
    """All domains of a host by name: those that could be read, and those that exist but could not."""

    read: tuple[DefinedDomain, ...] = ()
    unread: tuple[UnreadDomain, ...] = ()
