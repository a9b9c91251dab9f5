"""A domain's disks and CD-ROM drives as the command line that runs them with QEMU alone."""

import shlex
from collections import Counter
from collections.abc import Iterable

from msgspec import Struct

from virtrbd.errors import SpecError
from virtrbd.model.capabilities import Capabilities
from virtrbd.model.cluster import ClusterFacts
from virtrbd.model.disk import Bus, Cache, Cdrom, Discard, Disk
from virtrbd.model.domain import Domain
from virtrbd.model.image import ImageRef
from virtrbd.qemu.backend import DEFAULT_CONF, Client, backend_id, backend_words
from virtrbd.qemu.device import cdrom_devices, controllers, disk_device
from virtrbd.qemu.era import Era
from virtrbd.qemu.limits import domain_notes, domain_problems
from virtrbd.qemu.throttle import group_object

EMULATOR = "qemu-system-x86_64"
MIB = 1024**2


class QemuCommand(Struct, frozen=True, kw_only=True):
    """A command line by options; `remarks` are for the reader, `notes` say what of the spec it leaves out."""

    options: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """The arguments of the process."""
        return (EMULATOR, *(word for option in self.options for word in option))


def qemu_command(
    domain: Domain, cluster: ClusterFacts, capabilities: Capabilities, conf: str = DEFAULT_CONF
) -> QemuCommand:
    """Return the command line that runs the domain's disks on that QEMU, without its other devices.

    `conf` is the ceph.conf of disks without one; monitors and the user's keyring come from it, so that no key
    is on the command line. Raises SpecError with all problems where that QEMU would open another image, or none.
    """
    era, client = Era.of(capabilities), Client(user=cluster.user, conf=conf)
    problems = domain_problems(domain, client, era)
    if problems:
        raise SpecError(*problems)
    return QemuCommand(
        options=(*_head(domain, era), *_objects(domain, era), *_drives(domain, client, era)),
        remarks=(
            f"{domain.name}: its disks for {era}; all other devices are QEMU's defaults.",
            f"The key of client.{client.user} is not here: QEMU reads it from the keyring that {conf} names.",
        ),
        notes=(*_machine_notes(capabilities, era), *domain_notes(domain, era)),
    )


def command_text(command: QemuCommand) -> str:
    """Return the command line for a shell: quoted, an option a line, under its remarks and notes."""
    comments = [*command.remarks, *(f"note: {note}" for note in command.notes)]
    # A line break in a path must not end the comment.
    above = [f"# {' '.join(text.split())}" for text in comments]
    lines = [EMULATOR, *(f"    {shlex.join(option)}" for option in command.options)]
    return "\n".join([*above, " \\\n".join(lines)]) + "\n"


def _machine_notes(capabilities: Capabilities, era: Era) -> list[str]:
    if capabilities.machine in ("", era.machine):
        return []
    return [f"this QEMU has no machine {capabilities.machine}; {era.machine} replaces it"]


def _head(domain: Domain, era: Era) -> list[tuple[str, str]]:
    accelerator = "kvm" if domain.hypervisor == "kvm" else "tcg"
    return [
        ("-name", domain.name),
        ("-machine", f"{era.machine},accel={accelerator}"),
        ("-m", str(domain.memory_bytes // MIB)),
        ("-smp", _smp(domain)),
    ]


def _smp(domain: Domain) -> str:
    count = domain.current_vcpus or domain.vcpus
    words = [str(count)] if count == domain.vcpus else [str(count), f"maxcpus={domain.vcpus}"]
    if domain.cpu and domain.cpu.topology:
        topology = domain.cpu.topology
        words += [f"sockets={topology.sockets}", f"cores={topology.cores}", f"threads={topology.threads}"]
    return ",".join(words)


def _objects(domain: Domain, era: Era) -> list[tuple[str, str]]:
    threads = domain.iothreads if era.qemu >= (2, 1, 0) else 0
    words = [f"iothread,id=iothread{number}" for number in range(1, threads + 1)]
    if era.has_blockdev:
        words += _unique(group_object(disk, era.qemu) for disk in domain.disks if disk.iotune)
    return [("-object", word) for word in words]


def _unique(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))


def _drives(domain: Domain, client: Client, era: Era) -> list[tuple[str, str]]:
    drives: list[Disk | Cdrom] = [*domain.disks, *domain.cdroms]
    drives.sort(key=lambda drive: drive.target)
    words = controllers([drive.bus for drive in drives], era)
    seen: Counter[Bus] = Counter()
    for drive in drives:
        index = ord(drive.target[-1]) - ord("a") if drive.bus is Bus.IDE else seen[drive.bus]
        seen[drive.bus] += 1
        match drive:
            case Disk():
                words += [backend_words(drive, client, era), disk_device(drive, index, era)]
            case Cdrom():
                words += _cdrom(drive, index, client, era)
    return words


def _cdrom(cdrom: Cdrom, index: int, client: Client, era: Era) -> list[tuple[str, str]]:
    # A medium is read like a disk that is never written.
    disk = Disk(
        target=cdrom.target,
        bus=cdrom.bus,
        image=cdrom.image or ImageRef(pool="", name=""),
        cache=Cache.NONE if cdrom.is_seed else Cache.DEFAULT,
        discard=Discard.IGNORE,
        readonly=True,
        boot=cdrom.boot,
    )
    backend = []
    if cdrom.image:
        backend = [backend_words(disk, client, era, media="cdrom")]
    elif not era.has_blockdev:  # an empty drive without a backend came with 2.8; this form works for all
        backend = [("-drive", f"if=none,id={backend_id(disk.target)},media=cdrom")]
    return [*backend, *cdrom_devices(disk, index, era, has_backend=bool(backend))]
