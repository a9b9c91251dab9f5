"""The connection to libvirt: its queries and its commands."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any, Self, TypeVar

from virtrbd.deadline import call_within, is_abandoned
from virtrbd.domainxml.defined import DefinedDomain, HostDomains, UnreadDomain
from virtrbd.domainxml.document import Definition, Document, Edited, Rendered
from virtrbd.errors import HypervisorError, UnavailableError
from virtrbd.hypervisor.bindings import libvirt
from virtrbd.hypervisor.errors import translated
from virtrbd.hypervisor.marks import record, with_passwords_of, write_mark
from virtrbd.hypervisor.patience import read_each
from virtrbd.hypervisor.reading import (
    Flags,
    definition_of,
    describe_domain,
    host_uuid_in,
    kept_of,
    kept_or_failure,
    saved_documents,
    snapshot_documents,
)
from virtrbd.lazily import lazily
from virtrbd.model.capabilities import Capabilities
from virtrbd.model.digest import digest_of
from virtrbd.model.failure import Failure
from virtrbd.model.mark import DomainMark
from virtrbd.model.record import replace
from virtrbd.model.retirement import Kept
from virtrbd.model.settings import Settings
from virtrbd.printable import cut, shell_command

# A run that finds all in order parses no XML, and needs no lxml.
with lazily():
    from virtrbd.domainxml.capabilities import parse_capabilities
    from virtrbd.domainxml.parse import ceph_pool_in

T = TypeVar("T")

_CONFIG = libvirt.VIR_DOMAIN_AFFECT_CONFIG

# Calls at a time: libvirtd works on five of one client (max_client_requests).
_AT_A_TIME = 4


def _is_text(name: str) -> bool:
    """Whether the name can be passed to libvirt: bytes of a command line that are not UTF-8 cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


class Hypervisor:
    """A connection to libvirt. Every method ends within the settings' deadline or raises UnavailableError."""

    def __init__(self, connection: Any, settings: Settings) -> None:
        self._connection = connection
        self._settings = settings
        # Values that stay the same during a connection.
        self._host_uuid = self._digest = ""

    @classmethod
    @contextmanager
    def connect(cls, settings: Settings) -> Iterator[Self]:
        """Connect, and disconnect at the end. Raises UnavailableError, DeniedError."""
        # libvirt prints every error on stderr by itself; virtrbd reports each once.
        libvirt.registerErrorHandler(lambda *_: None, None)
        with translated(f"connecting to {cut(settings.connect)}"):
            connection = call_within(
                settings.timeouts.libvirt,
                f"libvirt: connecting to {cut(settings.connect)}",
                lambda: libvirt.open(settings.connect),
            )
        hypervisor = cls(connection, settings)
        try:
            yield hypervisor
        finally:
            # libvirt's client frees a connection under another thread's call, which then uses what was freed:
            # the connection ends with the process, which leaves at once.
            if not is_abandoned():
                # Report what was done or went wrong before, not that the connection could not be closed.
                with suppress(UnavailableError, HypervisorError):
                    hypervisor.call("disconnecting", lambda connection: connection.close())

    def call(self, what: str, use: Callable[[Any], T], *, changes: bool = False) -> T:
        """Make a call, to which `use` gets libvirt's connection: for this room only."""
        with translated(what):
            return call_within(
                self._settings.timeouts.libvirt,
                f"libvirt: {what}",
                lambda: use(self._connection),
                changes=changes,
            )

    def host_uuid(self) -> str:
        """Return the UUID of the host itself."""
        if not self._host_uuid:
            capabilities = self.call("reading the host's capabilities", lambda connection: connection.getCapabilities())
            self._host_uuid = host_uuid_in(capabilities)
        return self._host_uuid

    def digest(self) -> str:
        """Return a digest of the hypervisor: another version may render differently."""
        if not self._digest:
            self._digest = self.call(
                "reading versions",
                lambda connection: digest_of(str(connection.getLibVersion()), str(connection.getVersion())),
            )
        return self._digest

    def capabilities(self, hypervisor_type: str, machine: str) -> Capabilities | None:
        """Return the capabilities of libvirt's emulator with the machine, None where libvirt does not know the two.

        A driver without domcapabilities (libvirt's test driver) gets no offers: its values are unknown, not refused.
        """

        def read(connection: Any) -> Capabilities | None:
            versions = connection.getLibVersion(), connection.getVersion()
            try:
                xml = connection.getDomainCapabilities(None, "x86_64", machine, hypervisor_type)
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_SUPPORT:
                    return replace(parse_capabilities("<domainCapabilities/>", *versions), machine=machine)
                if error.get_error_code() == libvirt.VIR_ERR_INVALID_ARG:
                    return None
                raise
            return parse_capabilities(xml, *versions)

        return self.call(f"reading the capabilities of {machine} on {hypervisor_type}", read)

    def domains(self) -> HostDomains:
        """Return all domains by name.

        Uses only calls that answer while a QEMU is stuck; from libvirt 11 on virDomainGetXMLDesc takes a
        job, so a domain whose QEMU another call waits for is unread.
        """
        patience_s = self._settings.timeouts.libvirt / 2

        def read(connection: Any) -> HostDomains:
            flags, listed = Flags(connection), connection.listAllDomains()
            described = read_each(
                listed,
                flags.read_domain,
                patience_s=patience_s,
                at_a_time=_AT_A_TIME,
                give_up=lambda domain: flags.silent(domain, patience_s),
            )
            found = sorted((domain for domain in described if domain), key=lambda each: each.name)
            return HostDomains(
                read=tuple(each for each in found if isinstance(each, DefinedDomain)),
                unread=tuple(each for each in found if isinstance(each, UnreadDomain)),
            )

        return self.call("listing domains", read)

    def domain(self, name: str) -> DefinedDomain | None:
        """Return the domain of that UUID or name, or None; as for virsh, a UUID comes before another domain's name."""

        def read(connection: Any) -> DefinedDomain | None:
            if not _is_text(name):
                return None
            for look in (connection.lookupByUUIDString, connection.lookupByName):
                try:
                    return describe_domain(look(name))
                except libvirt.libvirtError as error:
                    if error.get_error_code() not in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_INVALID_ARG):
                        raise
            return None

        return self.call(f"looking up {name}", read)

    def kept_documents(self) -> dict[str, tuple[Document | Failure, ...]]:
        """Return, by UUID, what libvirt keeps of domains besides their definition and live XML.

        That is a managed save, which may hold disks that only the saved guest had, and of snapshots, to
        which the domain may be reverted; or why they cannot be read.
        """

        def read(connection: Any) -> dict[str, tuple[Document | Failure, ...]]:
            saved = connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE)
            with_snapshots = connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_HAS_SNAPSHOT)
            kept: dict[str, tuple[Document | Failure, ...]] = {}
            for domain, read_of in (
                *((d, saved_documents) for d in saved),
                *((d, snapshot_documents) for d in with_snapshots),
            ):
                uuid = domain.UUIDString()
                kept[uuid] = (*kept.get(uuid, ()), *kept_or_failure(connection, domain, read_of))
            return kept

        return self.call("reading managed saves and snapshots", read)

    def managed_save(self, uuid: str) -> Document | None:
        """Return the document with which the domain's managed save would be resumed, None without a save."""
        return next(iter(self.on(uuid, "reading the managed save", saved_documents)), None)

    def ceph_pool_of(self, storage_pool: str) -> str | None:
        """Return the Ceph pool of a libvirt storage pool, "" for another kind of pool, None for an unknown pool."""

        def read(connection: Any) -> str | None:
            try:
                return ceph_pool_in(connection.storagePoolLookupByName(storage_pool).XMLDesc())
            except libvirt.libvirtError as error:
                if error.get_error_code() in (libvirt.VIR_ERR_NO_STORAGE_POOL, libvirt.VIR_ERR_NO_SUPPORT):
                    return None
                raise

        return self.call(f"looking up the storage pool {storage_pool}", read)

    def definition(self, uuid: str) -> Definition | None:
        """Return only the definition, or None when there is no such domain."""

        def read(connection: Any) -> Definition | None:
            try:
                return definition_of(connection.lookupByUUIDString(uuid))
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                    return None
                raise

        return self.call(f"reading the definition of {uuid}", read)

    def define(self, edited: Edited, mark: DomainMark, rendered: Rendered) -> Definition:
        """Define (or redefine) a domain, checked against libvirt's schema, and record its definition's digest, and what
        libvirt made of what was rendered.

        Return the definition as libvirt holds it then.
        """

        def define(own: Any) -> Definition:
            whole = with_passwords_of(own, edited, mark.uuid) if "<graphics" in edited.text else edited
            return record(own.defineXMLFlags(whole.text, libvirt.VIR_DOMAIN_DEFINE_VALIDATE), mark, rendered)

        return self._call_apart("defining the domain", define)

    def set_autostart(self, uuid: str, autostart: bool) -> None:
        self.on(uuid, "setting autostart", lambda domain: domain.setAutostart(int(autostart)))

    def start(self, uuid: str) -> None:
        """Start the domain. A start that takes too long is cancelled, and raises UnavailableError.

        Abandoned, it would happen when Ceph comes back, long after virtrbd reported that it failed.
        """
        try:
            self.on(uuid, "starting the domain", lambda domain: domain.create())
        except UnavailableError as error:
            try:
                self.on(uuid, "cancelling the start", lambda domain: domain.destroy())
            except (UnavailableError, HypervisorError) as second:
                raise UnavailableError(f"{error}; {second}") from error
            raise UnavailableError("libvirt: the domain did not start in time; the start was cancelled") from error

    def shutdown(self, uuid: str) -> None:
        """Ask the guest to shut down; it may take long, or ignore that."""
        self.on(uuid, "asking the guest to shut down", lambda domain: domain.shutdown())

    def reboot(self, uuid: str) -> None:
        """Ask the guest to reboot."""
        self.on(uuid, "asking the guest to reboot", lambda domain: domain.reboot())

    def destroy(self, uuid: str) -> None:
        """End the guest at once, as a power cut does."""
        self.on(uuid, "destroying the domain", lambda domain: domain.destroy())

    def kept(self, uuid: str) -> Kept:
        """Return what libvirt keeps of the domain besides its definition, and the jobs on its disks."""
        return self.on(uuid, "reading its snapshots, checkpoints and block jobs", kept_of, changes=False)

    def undefine(self, uuid: str, *, forget_snapshots: bool = False) -> None:
        """Forget the definition; NVRAM and TPM state stay. libvirt refuses while a managed save would be lost."""
        # KEEP_TPM came with 8.9.
        flags = libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM | getattr(libvirt, "VIR_DOMAIN_UNDEFINE_KEEP_TPM", 0)
        if forget_snapshots:
            flags |= libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
        self.on(uuid, "undefining the domain", lambda domain: domain.undefineFlags(flags))

    def set_mark(self, uuid: str, change: Callable[[DomainMark], DomainMark]) -> None:
        """Change the definition's mark. Raises HypervisorError when it has none."""

        def write(domain: Any) -> None:
            mark = definition_of(domain).mark
            if mark is None:
                name = domain.name()
                raise HypervisorError(f"{name}: is not virtrbd's; adopt it with {shell_command('virtrbd adopt', name)}")
            write_mark(domain, change(mark), _CONFIG)

        self.on(uuid, "writing the domain's mark", write)

    def drop_managed_save(self, uuid: str) -> None:
        """Drop the managed save of a domain."""
        self.on(uuid, "dropping the managed save", lambda domain: domain.managedSaveRemove())

    def on(self, uuid: str, what: str, use: Callable[[Any], T], *, changes: bool = True) -> T:
        """Make a call, to which `use` gets libvirt's domain: for this room only. It may hang with the guest."""
        return self._call_apart(what, lambda own: use(own.lookupByUUIDString(uuid)), changes=changes)

    def _call_apart(self, what: str, use: Callable[[Any], T], *, changes: bool = True) -> T:
        """Make a call that takes a domain's job lock over a separate connection: while QEMU hangs it never returns.

        Before libvirt 10.0 threads that share a connection may miss their wake-up while another one waits (rpc: fix
        race in waking up client event loop), and would hang with it.
        """

        def run(_: Any) -> T:
            with closing(libvirt.open(self._settings.connect)) as own:
                return use(own)

        return self.call(what, run, changes=changes)
