"""The connection to libvirt: its queries and its commands."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from typing import Any, Self, TypeVar

from virtrbd.ceph.keyring import Key
from virtrbd.deadline import call_within, is_abandoned
from virtrbd.domainxml.defined import DefinedDomain, HostDomains, UnreadDomain
from virtrbd.domainxml.document import Definition, Document, Edited, Rendered
from virtrbd.errors import HypervisorError, UnavailableError
from virtrbd.hypervisor.bindings import libvirt
from virtrbd.hypervisor.errors import translated
from virtrbd.hypervisor.growing import grow_disk
from virtrbd.hypervisor.marks import record, with_passwords_of, write_mark
from virtrbd.hypervisor.patience import read_each
from virtrbd.hypervisor.reading import (
    Flags,
    answers,
    definition_of,
    describe_domain,
    host_uuid_in,
    kept_of,
    kept_or_failure,
    live_of,
    saved_documents,
    snapshot_documents,
)
from virtrbd.hypervisor.secrets import SECRET_NOT_SET, SECRET_SET, read_secret
from virtrbd.lazily import lazily
from virtrbd.model.capabilities import Capabilities
from virtrbd.model.cluster import Secret
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
    from virtrbd.domainxml.libvirt_defaults import is_plain
    from virtrbd.domainxml.own_devices import live_mark
    from virtrbd.domainxml.parse import ceph_pool_in, secret_xml

T = TypeVar("T")

_LIVE, _CONFIG = libvirt.VIR_DOMAIN_AFFECT_LIVE, libvirt.VIR_DOMAIN_AFFECT_CONFIG

# Calls at a time: libvirtd works on five of one client (max_client_requests).
_AT_A_TIME = 4


# Of a secret, which libvirt encrypts again for each QEMU.
_CIPHER = re.compile(r'"(?:data|iv)":"[^"]*",?')


# The order of features has no meaning.
_CPU = re.compile(r"(?<= -cpu )\S+")


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
                    hypervisor._call("disconnecting", connection.close)

    def _call(self, what: str, call: Callable[[], T], *, changes: bool = False) -> T:
        with translated(what):
            return call_within(self._settings.timeouts.libvirt, f"libvirt: {what}", call, changes=changes)

    def host_uuid(self) -> str:
        """Return the UUID of the host itself."""
        if not self._host_uuid:
            capabilities = self._call("reading the host's capabilities", self._connection.getCapabilities)
            self._host_uuid = host_uuid_in(capabilities)
        return self._host_uuid

    def digest(self) -> str:
        """Return a digest of the hypervisor: another version may render differently."""
        if not self._digest:
            self._digest = self._call(
                "reading versions",
                lambda: digest_of(str(self._connection.getLibVersion()), str(self._connection.getVersion())),
            )
        return self._digest

    def capabilities(self, hypervisor_type: str, machine: str) -> Capabilities | None:
        """Return the capabilities of libvirt's emulator with the machine, None where libvirt does not know the two.

        A driver without domcapabilities (libvirt's test driver) gets no offers: its values are unknown, not refused.
        """

        def read() -> Capabilities | None:
            versions = self._connection.getLibVersion(), self._connection.getVersion()
            try:
                xml = self._connection.getDomainCapabilities(None, "x86_64", machine, hypervisor_type)
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_SUPPORT:
                    return replace(parse_capabilities("<domainCapabilities/>", *versions), machine=machine)
                if error.get_error_code() == libvirt.VIR_ERR_INVALID_ARG:
                    return None
                raise
            return parse_capabilities(xml, *versions)

        return self._call(f"reading the capabilities of {machine} on {hypervisor_type}", read)

    def domains(self) -> HostDomains:
        """Return all domains by name.

        Uses only calls that answer while a QEMU is stuck; from libvirt 11 on virDomainGetXMLDesc takes a
        job, so a domain whose QEMU another call waits for is unread.
        """
        patience_s = self._settings.timeouts.libvirt / 2

        def read() -> HostDomains:
            flags, listed = Flags(self._connection), self._connection.listAllDomains()
            described = read_each(
                listed,
                flags.describe,
                patience_s=patience_s,
                at_a_time=_AT_A_TIME,
                give_up=lambda domain: flags.silent(domain, patience_s),
            )
            found = sorted((domain for domain in described if domain), key=lambda each: each.name)
            return HostDomains(
                read=tuple(each for each in found if isinstance(each, DefinedDomain)),
                unread=tuple(each for each in found if isinstance(each, UnreadDomain)),
            )

        return self._call("listing domains", read)

    def domain(self, name: str) -> DefinedDomain | None:
        """Return the domain of that UUID or name, or None; as for virsh, a UUID comes before another domain's name."""

        def read() -> DefinedDomain | None:
            if not _is_text(name):
                return None
            for look in (self._connection.lookupByUUIDString, self._connection.lookupByName):
                try:
                    return describe_domain(look(name))
                except libvirt.libvirtError as error:
                    if error.get_error_code() not in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_INVALID_ARG):
                        raise
            return None

        return self._call(f"looking up {name}", read)

    def kept_documents(self) -> dict[str, tuple[Document | Failure, ...]]:
        """Return, by UUID, what libvirt keeps of domains besides their definition and live XML.

        That is a managed save, which may hold disks that only the saved guest had, and of snapshots, to
        which the domain may be reverted; or why they cannot be read.
        """
        connection = self._connection

        def read() -> dict[str, tuple[Document | Failure, ...]]:
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

        return self._call("reading managed saves and snapshots", read)

    def managed_save(self, uuid: str) -> Document | None:
        """Return the document with which the domain's managed save would be resumed, None without a save."""
        return next(iter(self._on(uuid, "reading the managed save", saved_documents)), None)

    def ceph_pool_of(self, storage_pool: str) -> str | None:
        """Return the Ceph pool of a libvirt storage pool, "" for another kind of pool, None for an unknown pool."""

        def read() -> str | None:
            try:
                return ceph_pool_in(self._connection.storagePoolLookupByName(storage_pool).XMLDesc())
            except libvirt.libvirtError as error:
                if error.get_error_code() in (libvirt.VIR_ERR_NO_STORAGE_POOL, libvirt.VIR_ERR_NO_SUPPORT):
                    return None
                raise

        return self._call(f"looking up the storage pool {storage_pool}", read)

    def definition(self, uuid: str) -> Definition | None:
        """Return only the definition, or None when there is no such domain."""

        def read() -> Definition | None:
            try:
                return definition_of(self._connection.lookupByUUIDString(uuid))
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                    return None
                raise

        return self._call(f"reading the definition of {uuid}", read)

    def made_of(self, document: Document) -> str | None:
        """Return the QEMU command line that libvirt would make of a domain, without what changes each time.

        None where libvirt gives none, or the query would harm it. Nothing is defined or started.
        """
        if not is_plain(document):
            return None

        def read() -> str | None:
            try:
                argv = self._connection.domainXMLToNative("qemu-argv", document.text, 0)
            except libvirt.libvirtError:
                if not answers(self._connection):
                    raise
                return None
            return _CPU.sub(lambda cpu: ",".join(sorted(cpu[0].split(","))), _CIPHER.sub("", argv))

        return self._call("reading a command line", read)

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
        self._on(uuid, "setting autostart", lambda domain: domain.setAutostart(int(autostart)))

    def start(self, uuid: str) -> None:
        """Start the domain. A start that takes too long is cancelled, and raises UnavailableError.

        Abandoned, it would happen when Ceph comes back, long after virtrbd reported that it failed.
        """
        try:
            self._on(uuid, "starting the domain", lambda domain: domain.create())
        except UnavailableError as error:
            try:
                self._on(uuid, "cancelling the start", lambda domain: domain.destroy())
            except (UnavailableError, HypervisorError) as second:
                raise UnavailableError(f"{error}; {second}") from error
            raise UnavailableError("libvirt: the domain did not start in time; the start was cancelled") from error

    def shutdown(self, uuid: str) -> None:
        """Ask the guest to shut down; it may take long, or ignore that."""
        self._on(uuid, "asking the guest to shut down", lambda domain: domain.shutdown())

    def reboot(self, uuid: str) -> None:
        """Ask the guest to reboot."""
        self._on(uuid, "asking the guest to reboot", lambda domain: domain.reboot())

    def destroy(self, uuid: str) -> None:
        """End the guest at once, as a power cut does."""
        self._on(uuid, "destroying the domain", lambda domain: domain.destroy())

    def kept(self, uuid: str) -> Kept:
        """Return what libvirt keeps of the domain besides its definition, and the jobs on its disks."""
        return self._on(uuid, "reading its snapshots, checkpoints and block jobs", kept_of, changes=False)

    def undefine(self, uuid: str, *, forget_snapshots: bool = False) -> None:
        """Forget the definition; NVRAM and TPM state stay. libvirt refuses while a managed save would be lost."""
        # KEEP_TPM came with 8.9.
        flags = libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM | getattr(libvirt, "VIR_DOMAIN_UNDEFINE_KEEP_TPM", 0)
        if forget_snapshots:
            flags |= libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
        self._on(uuid, "undefining the domain", lambda domain: domain.undefineFlags(flags))

    def block_resize(self, uuid: str, target: str, from_bytes: int, to_bytes: int) -> bool:
        """Grow a running guest's disk: QEMU resizes the image, and the guest sees the new size. Never shrinks.

        Return whether the guest had less. Raises HypervisorError when QEMU does not show the new size afterwards.
        """
        return self._on(uuid, f"growing {target}", lambda domain: grow_disk(domain, target, from_bytes, to_bytes))

    def attach_live(self, uuid: str, xml: str) -> None:
        """Attach a device to the running guest only."""
        self._on(uuid, "attaching a device", lambda domain: domain.attachDeviceFlags(xml, _LIVE))

    def detach_live(self, uuid: str, xml: str) -> None:
        """Ask the running guest to release a device; it may take long, or ignore that."""
        self._on(uuid, "detaching a device", lambda domain: domain.detachDeviceFlags(xml, _LIVE))

    def update_live(self, uuid: str, xml: str) -> None:
        """Change a device of the running guest: a medium, a link."""
        self._on(uuid, "changing a device", lambda domain: domain.updateDeviceFlags(xml, _LIVE))

    def limit_disk_live(self, uuid: str, target: str, limits: Mapping[str, int | str]) -> None:
        """Set I/O limits of a running guest's disk, by libvirt's names; 0 is none."""
        self._on(uuid, f"limiting {target}", lambda domain: domain.setBlockIoTune(target, dict(limits), _LIVE))

    def set_memory_live(self, uuid: str, to_bytes: int) -> None:
        """Set the balloon of the running guest, and record that; the guest follows later."""

        def tell(domain: Any) -> None:
            domain.setMemoryFlags(to_bytes // 1024, _LIVE)
            if mark := live_of(domain).mark:
                write_mark(domain, replace(mark, balloon_bytes=to_bytes), _LIVE)

        self._on(uuid, "setting memory", tell)

    def set_vcpus_live(self, uuid: str, count: int) -> None:
        """Plug vcpus of the running guest in or out."""
        self._on(uuid, "setting vcpus", lambda domain: domain.setVcpusFlags(count, _LIVE))

    def set_title_live(self, uuid: str, title: str, description: str) -> None:
        """Set title and description of the running domain; an empty one is removed."""

        def write(domain: Any) -> None:
            for kind, text in (
                (libvirt.VIR_DOMAIN_METADATA_TITLE, title),
                (libvirt.VIR_DOMAIN_METADATA_DESCRIPTION, description),
            ):
                domain.setMetadata(kind, text or None, None, None, _LIVE)

        self._on(uuid, "setting title and description", write)

    def mark_live(self, uuid: str, stated: tuple[str, ...], seen: Mapping[str, str]) -> None:
        """Record in the live XML what of the running guest is virtrbd's; the rest of its mark stays.

        `seen`: where its devices were when it was observed, by step.
        """

        def write(domain: Any) -> None:
            mark = live_mark(live_of(domain), definition_of(domain), stated, seen)
            if mark:
                write_mark(domain, mark, _LIVE)

        self._on(uuid, "marking the running domain", write)

    def set_mark(self, uuid: str, change: Callable[[DomainMark], DomainMark]) -> None:
        """Change the definition's mark. Raises HypervisorError when it has none."""

        def write(domain: Any) -> None:
            mark = definition_of(domain).mark
            if mark is None:
                name = domain.name()
                raise HypervisorError(f"{name}: is not virtrbd's; adopt it with {shell_command('virtrbd adopt', name)}")
            write_mark(domain, change(mark), _CONFIG)

        self._on(uuid, "writing the domain's mark", write)

    def drop_managed_save(self, uuid: str) -> None:
        """Drop the managed save of a domain."""
        self._on(uuid, "dropping the managed save", lambda domain: domain.managedSaveRemove())

    def secrets(self, key: Key) -> tuple[Secret, ...]:
        """Return libvirt's ceph secrets by UUID, and which of them hold this key (a private one does not show it)."""

        def read() -> tuple[Secret, ...]:
            ceph = [s for s in self._connection.listAllSecrets() if s.usageType() == libvirt.VIR_SECRET_USAGE_TYPE_CEPH]
            found = (secret for each in ceph if (secret := read_secret(each, key)))
            return tuple(sorted(found, key=lambda secret: secret.uuid))

        return self._call("listing secrets", read)

    def define_secret(self, uuid: str, usage: str, key: Key) -> None:
        """Define the secret, set its value, then record that it has one: a private value can't be read."""

        def define() -> None:
            # An existing secret may be another run's, which is about to find it set.
            there = [secret for secret in self._connection.listAllSecrets() if secret.UUIDString() == uuid]
            made = there or [self._connection.secretDefineXML(secret_xml(uuid, usage, SECRET_NOT_SET))]
            made[0].setValue(key.raw)
            self._connection.secretDefineXML(secret_xml(uuid, usage, SECRET_SET))

        self._call(f"defining secret {uuid}", define, changes=True)

    def _on(self, uuid: str, what: str, use: Callable[[Any], T], *, changes: bool = True) -> T:
        return self._call_apart(what, lambda own: use(own.lookupByUUIDString(uuid)), changes=changes)

    def _call_apart(self, what: str, use: Callable[[Any], T], *, changes: bool = True) -> T:
        """Make a call that takes a domain's job lock over a separate connection: while QEMU hangs it never returns.

        Before libvirt 10.0 threads that share a connection may miss their wake-up while another one waits (rpc: fix
        race in waking up client event loop), and would hang with it.
        """

        def run() -> T:
            with closing(libvirt.open(self._settings.connect)) as own:
                return use(own)

        return self._call(what, run, changes=changes)
