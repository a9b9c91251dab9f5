"""Domains, read from libvirt."""

import re
from collections.abc import Callable
from typing import Any

from virtrbd.contained import contained
from virtrbd.domainxml.defined import DefinedDomain, UnreadDomain
from virtrbd.domainxml.document import Definition, Document, LiveDocument
from virtrbd.errors import HypervisorError, UnavailableError, VirtrbdError
from virtrbd.hypervisor.bindings import libvirt
from virtrbd.hypervisor.errors import translated
from virtrbd.model.failure import Failure, failure_of
from virtrbd.model.power import PowerState
from virtrbd.model.retirement import Kept
from virtrbd.printable import shell_command

_STATES = {
    libvirt.VIR_DOMAIN_RUNNING: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: PowerState.PAUSED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: PowerState.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_SHUTOFF: PowerState.SHUT_OFF,
    libvirt.VIR_DOMAIN_CRASHED: PowerState.CRASHED,
}

# Bytes that are not UTF-8, as surrogateescape decodes them.
_UNDECODED = re.compile("[\udc80-\udcff]")


def xml_of(domain: Any, flags: int = 0) -> str:
    """Return the domain's XML, with U+001A for each byte that is not UTF-8: XML forbids both.

    Raises HypervisorError where libvirt cannot send it because of its size.
    """
    try:
        return str(domain.XMLDesc(flags))
    except UnicodeDecodeError as error:
        # `virsh desc` takes any bytes, and libvirt gives them back.
        return _UNDECODED.sub("\x1a", error.object.decode(errors="surrogateescape"))
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_RPC and answers(domain.connect()):
            raise HypervisorError(
                f"libvirt cannot send the XML of {domain.name()} ({error}): it is larger than 4 MiB; shorten its "
                f"title, description or metadata with virsh desc and virsh metadata"
            ) from error
        raise


def answers(connection: Any) -> bool:
    """Whether libvirt answers: an error of a single call may concern only that call."""
    try:
        connection.getVersion()
    except libvirt.libvirtError:
        return False
    return True


def definition_of(domain: Any) -> Definition:
    """Return the domain's definition; of a transient one, which has none, that is what runs."""
    return Definition(xml_of(domain, libvirt.VIR_DOMAIN_XML_INACTIVE))


def live_of(domain: Any) -> LiveDocument:
    """Return what runs of the domain."""
    return LiveDocument(xml_of(domain))


def host_uuid_in(capabilities: str) -> str:
    """Return the host's UUID from libvirt's capabilities; the test driver has none."""
    match = re.search(r"<host>\s*<uuid>([^<]+)</uuid>", capabilities)
    return match[1] if match else "00000000-0000-0000-0000-000000000000"


class Flags:
    """Facts of all domains from a few list calls: asking each domain takes a call for each fact."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

        def uuids(flag: int) -> frozenset[str]:
            return frozenset(domain.UUIDString() for domain in connection.listAllDomains(flag))

        self._persistent = uuids(libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT)
        self._running = uuids(libvirt.VIR_CONNECT_LIST_DOMAINS_RUNNING)
        self._shut_off = uuids(libvirt.VIR_CONNECT_LIST_DOMAINS_SHUTOFF)
        self._saved = uuids(libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE)
        self._autostart = uuids(libvirt.VIR_CONNECT_LIST_DOMAINS_AUTOSTART)

    def read_domain(self, domain: Any) -> DefinedDomain | UnreadDomain | None:
        """Return the domain, None when it was undefined since the listing.

        An odd domain is its own failure. Raises UnavailableError when libvirt no longer answers.
        """
        name, uuid = domain.name(), domain.UUIDString()
        try:
            with contained(f"reading domain {name}"), translated(f"reading domain {name}"):
                return self._domain(domain, name, uuid)
        except VirtrbdError as error:
            if isinstance(error, UnavailableError) and not answers(self._connection):
                raise
            return UnreadDomain(name=name, uuid=uuid, state=self._state(uuid), failure=failure_of(error))

    def silent(self, domain: Any, waited_s: float) -> UnreadDomain:
        """Return the failure of a domain whose XML libvirt does not give."""
        name, uuid = domain.name(), domain.UUIDString()
        error = UnavailableError(
            f"libvirt: reading domain {name}: no answer within {waited_s:g} s; libvirt waits for its QEMU, which may "
            f"be stuck: {shell_command('virsh destroy', name)} would end it"
        )
        return UnreadDomain(name=name, uuid=uuid, state=self._state(uuid), failure=failure_of(error))

    def _domain(self, domain: Any, name: str, uuid: str) -> DefinedDomain | None:
        try:
            if uuid not in self._running and not (uuid in self._shut_off and uuid in self._persistent):
                # Paused, crashed, on its way, transient: rare enough for a call each.
                return describe_domain(domain)
            return DefinedDomain(
                name=name,
                uuid=uuid,
                state=self._state(uuid),
                definition=definition_of(domain),
                live=live_of(domain) if uuid in self._running else None,
                autostart=uuid in self._autostart,
                persistent=uuid in self._persistent,
            )
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return None
            raise

    def _state(self, uuid: str) -> PowerState:
        if uuid in self._running:
            return PowerState.RUNNING
        if uuid not in self._shut_off:
            return PowerState.UNKNOWN
        return PowerState.SAVED if uuid in self._saved else PowerState.SHUT_OFF


def describe_domain(domain: Any) -> DefinedDomain:
    """Return the domain, by calls for this domain only."""
    persistent = bool(domain.isPersistent())
    active = bool(domain.isActive())
    state = _STATES.get(domain.state()[0], PowerState.UNKNOWN)
    if state is PowerState.SHUT_OFF and domain.hasManagedSaveImage():
        state = PowerState.SAVED
    return DefinedDomain(
        name=domain.name(),
        uuid=domain.UUIDString(),
        state=state,
        definition=definition_of(domain),
        live=live_of(domain) if active else None,
        autostart=bool(persistent and domain.autostart()),
        persistent=persistent,
    )


def saved_documents(domain: Any) -> tuple[Document, ...]:
    """Return the document of the domain's managed save; nothing where that was just removed."""
    return _unless_gone(lambda: (Document(str(domain.managedSaveGetXMLDesc(0))),))


def snapshot_documents(domain: Any) -> tuple[Document, ...]:
    """Return the documents of the domain's snapshots; nothing where they were just removed."""
    return _unless_gone(lambda: tuple(Document(str(snapshot.getXMLDesc(0))) for snapshot in domain.listAllSnapshots()))


def kept_or_failure(
    connection: Any, domain: Any, read: Callable[[Any], tuple[Document, ...]]
) -> tuple[Document, ...] | tuple[Failure]:
    """Return what `read` finds, or why it found nothing: a damaged save fails only its domain.

    Raises UnavailableError when libvirt no longer answers.
    """
    what = f"reading what libvirt keeps of {domain.name()}"
    try:
        with contained(what), translated(what):
            return read(domain)
    except VirtrbdError as error:
        if isinstance(error, UnavailableError) and not answers(connection):
            raise
        return (failure_of(error),)


def _unless_gone(read: Callable[[], tuple[Document, ...]]) -> tuple[Document, ...]:
    gone = (
        libvirt.VIR_ERR_NO_DOMAIN,
        libvirt.VIR_ERR_NO_DOMAIN_SNAPSHOT,
        # "domain does not have managed save image"
        libvirt.VIR_ERR_OPERATION_INVALID,
        # Drivers that save guests and have no call for the save's XML (libvirt's test driver).
        libvirt.VIR_ERR_NO_SUPPORT,
    )
    try:
        return read()
    except libvirt.libvirtError as error:
        if error.get_error_code() in gone:
            return ()
        raise


def kept_of(domain: Any) -> Kept:
    """Return what libvirt keeps of a domain besides its definition. That asks a running guest's QEMU for block jobs."""
    return Kept(
        snapshots=tuple(sorted(domain.snapshotListNames())),
        checkpoints=tuple(sorted(_checkpoints(domain))),
        block_jobs=tuple(target for target in _targets(domain) if domain.blockJobInfo(target)),
    )


def _checkpoints(domain: Any) -> list[str]:
    try:
        return [checkpoint.getName() for checkpoint in domain.listAllCheckpoints()]
    except libvirt.libvirtError as error:
        # Drivers without them raise this (libvirt's test driver).
        if error.get_error_code() == libvirt.VIR_ERR_NO_SUPPORT:
            return []
        raise


def _targets(domain: Any) -> list[str]:
    """Return the targets of a running guest's disks; a guest that is off has no block jobs."""
    if not domain.isActive():
        return []
    return [disk.target for disk in live_of(domain).disks if disk.target]
