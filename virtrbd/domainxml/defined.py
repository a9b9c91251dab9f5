"""Domains of a host as libvirt holds them: read, or there and not readable."""

from msgspec import Struct

from virtrbd.domainxml.document import Definition, Document, LiveDocument
from virtrbd.errors import DocumentError, HypervisorError
from virtrbd.model.failure import Failure
from virtrbd.model.power import PowerState


class DefinedDomain(Struct, frozen=True, kw_only=True):
    """A domain as libvirt holds it; `live` is None where no guest runs."""

    name: str
    uuid: str
    state: PowerState
    definition: Definition
    live: LiveDocument | None = None
    autostart: bool = False
    persistent: bool = True

    @property
    def documents(self) -> tuple[Document, ...]:
        """What libvirt holds of it: the definition, and what runs."""
        return (self.definition, self.live) if self.live else (self.definition,)


class UnreadDomain(Struct, frozen=True, kw_only=True):
    """A domain that libvirt has and virtrbd cannot read: its devices, and the images that it uses, are unknown."""

    name: str
    uuid: str
    state: PowerState
    failure: Failure


class HostDomains(Struct, frozen=True, kw_only=True):
    """All domains of a host by name: those that could be read, and those that exist but could not."""

    read: tuple[DefinedDomain, ...] = ()
    unread: tuple[UnreadDomain, ...] = ()


def require_readable(domain: DefinedDomain) -> DefinedDomain:
    """Return the domain when what libvirt holds of it can be read. Raises HypervisorError."""
    try:
        for document in domain.documents:
            _ = document.tree
    except DocumentError as error:
        raise HypervisorError(f"{domain.name}: {error}; look with virsh dumpxml, and mend it") from error
    return domain
