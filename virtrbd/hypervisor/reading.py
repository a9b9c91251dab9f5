"""Domains as libvirt tells of them."""

from collections.abc import Callable
from typing import Any

from virtrbd.hypervisor.bindings import libvirt
from virtrbd.model.domain import DefinedDomain, PowerState
from virtrbd.model.retirement import Kept

_STATES = {
    libvirt.VIR_DOMAIN_RUNNING: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: PowerState.PAUSED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: PowerState.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_SHUTOFF: PowerState.SHUT_OFF,
    libvirt.VIR_DOMAIN_CRASHED: PowerState.CRASHED,
}


class Flags:
    """What lists of domains tell of each, in a few calls for all: asking each domain takes a call a question."""

    def __init__(self, connection: Any) -> None:
        def uuids(flag: int) -> frozenset[str]:
            return frozenset(domain.UUIDString() for domain in connection.listAllDomains(flag))

        self._persistent = uuids(libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT)
        self._running = uuids(libvirt.VIR_CONNECT_LIST_DOMAINS_RUNNING)
        self._shut_off = uuids(libvirt.VIR_CONNECT_LIST_DOMAINS_SHUTOFF)
        self._saved = uuids(libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE)
        self._autostart = uuids(libvirt.VIR_CONNECT_LIST_DOMAINS_AUTOSTART)

    def describe(self, domain: Any) -> DefinedDomain | None:
        """Return the domain, None when somebody undefined it since the listing."""
        uuid = domain.UUIDString()
        try:
            if uuid not in self._running and not (uuid in self._shut_off and uuid in self._persistent):
                # Paused, crashed, on its way, transient: rare enough to be asked.
                return describe(domain)
            running = uuid in self._running
            saved = uuid in self._saved
            off = PowerState.SAVED if saved else PowerState.SHUT_OFF
            return DefinedDomain(
                name=domain.name(),
                uuid=uuid,
                state=PowerState.RUNNING if running else off,
                definition=domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE),
                live=domain.XMLDesc() if running else "",
                autostart=uuid in self._autostart,
                persistent=uuid in self._persistent,
            )
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return None
            raise


def describe(domain: Any) -> DefinedDomain:
    """Return the domain, asking it alone."""
    persistent = bool(domain.isPersistent())
    active = bool(domain.isActive())
    state = _STATES.get(domain.state()[0], PowerState.UNKNOWN)
    if state is PowerState.SHUT_OFF and domain.hasManagedSaveImage():
        state = PowerState.SAVED
    return DefinedDomain(
        name=domain.name(),
        uuid=domain.UUIDString(),
        state=state,
        # a transient domain also answers INACTIVE, with its live XML
        definition=domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE),
        live=domain.XMLDesc() if active else "",
        autostart=bool(persistent and domain.autostart()),
        persistent=persistent,
    )


def saved_xml(domain: Any) -> tuple[str, ...]:
    """Return the XML of the domain's managed save; nothing where that has just gone."""
    return _unless_gone(lambda: (str(domain.managedSaveGetXMLDesc(0)),))


def snapshots_xml(domain: Any) -> tuple[str, ...]:
    """Return the XML of the domain's snapshots; nothing where they have just gone."""
    return _unless_gone(lambda: tuple(str(snapshot.getXMLDesc(0)) for snapshot in domain.listAllSnapshots()))


def _unless_gone(read: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
    gone = (
        libvirt.VIR_ERR_NO_DOMAIN,
        libvirt.VIR_ERR_NO_DOMAIN_SNAPSHOT,
        # "domain does not have managed save image"
        libvirt.VIR_ERR_OPERATION_INVALID,
    )
    try:
        return read()
    except libvirt.libvirtError as error:
        if error.get_error_code() in gone:
            return ()
        raise


def kept_of(domain: Any) -> Kept:
    """Return what libvirt keeps of a domain besides its definition. A running guest's QEMU is asked for block jobs."""
    return Kept(
        snapshots=tuple(sorted(domain.snapshotListNames())),
        checkpoints=tuple(sorted(_checkpoints(domain))),
        block_jobs=tuple(target for target in _targets(domain) if domain.blockJobInfo(target)),
    )


def _checkpoints(domain: Any) -> list[str]:
    try:
        return [checkpoint.getName() for checkpoint in domain.listAllCheckpoints()]
    except libvirt.libvirtError as error:
        # Drivers without them say so (libvirt's test driver).
        if error.get_error_code() == libvirt.VIR_ERR_NO_SUPPORT:
            return []
        raise


def _targets(domain: Any) -> list[str]:
    """Return the targets of a running guest's disks; one that is off has no job."""
    if not domain.isActive():
        return []
    from virtrbd.domainxml.parse import parse_disks

    return [disk.target for disk in parse_disks(domain.XMLDesc()) if disk.target]
