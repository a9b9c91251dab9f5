"""Domains: as specs want them, and as libvirt holds them."""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct, field

from virtrbd.model.image import ImageRef
from virtrbd.model.import_file import ImportFile
from virtrbd.model.overlay import Overlay
from virtrbd.model.seed import Seed
from virtrbd.printable import cut


class Bus(StrEnum):
    VIRTIO = "virtio"
    SCSI = "scsi"
    SATA = "sata"
    IDE = "ide"
    USB = "usb"


class Cache(StrEnum):
    """libvirt's cache modes; `default` leaves the choice to libvirt and QEMU, which is write-back for RBD."""

    NONE = "none"
    WRITETHROUGH = "writethrough"
    WRITEBACK = "writeback"
    DIRECTSYNC = "directsync"
    UNSAFE = "unsafe"
    DEFAULT = "default"


class Discard(StrEnum):
    """What happens to a guest's trims; `default` leaves that to QEMU, which ignores them."""

    UNMAP = "unmap"
    IGNORE = "ignore"
    DEFAULT = "default"


class DetectZeroes(StrEnum):
    OFF = "off"
    ON = "on"
    UNMAP = "unmap"


class PowerState(StrEnum):
    """A domain's state in one word; `saved` is off, but holds memory that belongs to its disks."""

    RUNNING = "running"
    PAUSED = "paused"
    SHUT_OFF = "shut off"
    SAVED = "saved"
    CRASHED = "crashed"
    UNKNOWN = "unknown"

    @property
    def is_active(self) -> bool:
        """Whether it has a QEMU process."""
        return self in (PowerState.RUNNING, PowerState.PAUSED)


class WantedState(StrEnum):
    """The power state that a spec wants; `unmanaged` leaves it to the operator."""

    RUNNING = "running"
    SHUT_OFF = "shut-off"
    UNMANAGED = "unmanaged"


class Disk(Struct, frozen=True, kw_only=True):
    """A disk as the domain sees it, keyed by target. `size_bytes` None: as large as its source.

    `discard_granularity_bytes` is announced to the guest, None where the spec has none; `iotune` holds libvirt's own
    names. The file to import must lie beneath one of the folders in `import_beneath`; the other fields that begin
    with `import_` are an ImportFile's.
    """

    target: str
    bus: Bus
    image: ImageRef
    size_bytes: int | None = None
    clone: ImageRef | None = None
    import_file: str = ""
    import_beneath: tuple[str, ...] = ()
    import_format: str = ""
    import_member: str = ""
    import_checksum: str = ""
    existing: bool = False
    cache: Cache = Cache.WRITEBACK
    discard: Discard = Discard.UNMAP
    discard_granularity_bytes: int | None = None
    detect_zeroes: DetectZeroes | None = None
    io: str = ""
    iotune: Mapping[str, int | str] = field(default_factory=dict)
    serial: str = ""
    wwn: str = ""
    rotation_rate: int | None = None
    iothread: int | None = None
    queues: int | None = None
    error_policy: str = ""
    rerror_policy: str = ""
    ceph_config: str = ""
    boot: int | None = None
    readonly: bool = False
    shareable: bool = False
    line: int = 0

    @property
    def is_written(self) -> bool:
        """Whether only this guest writes to it: it must never be open twice."""
        return not (self.readonly or self.shareable or self.image.snapshot)

    @property
    def import_source(self) -> ImportFile:
        """The source of its import; only for a disk that has one."""
        return ImportFile(
            name=self.import_file,
            format=self.import_format,
            member=self.import_member,
            checksum=self.import_checksum,
            beneath=self.import_beneath,
        )


class Cdrom(Struct, frozen=True, kw_only=True):
    """A CD-ROM drive; `image` None: empty. `is_seed`: virtrbd makes the image, from the spec's cloud_init."""

    target: str
    bus: Bus
    image: ImageRef | None = None
    boot: int | None = None
    is_seed: bool = False
    line: int = 0


class Filter(Struct, frozen=True, kw_only=True):
    """A network filter of libvirt's with its parameters."""

    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)


class Interface(Struct, frozen=True, kw_only=True):
    """A network interface, keyed by MAC; exactly one of `network`, `bridge` and `direct` is not empty."""

    mac: str
    network: str = ""
    bridge: str = ""
    direct: str = ""
    direct_mode: str = "bridge"
    model: str = "virtio"
    vlan: tuple[int, ...] = ()
    mtu: int | None = None
    queues: int | None = None
    link: str = ""
    filterref: Filter | None = None
    boot: int | None = None


class Topology(Struct, frozen=True, kw_only=True):
    sockets: int
    cores: int
    threads: int


class NumaCell(Struct, frozen=True, kw_only=True):
    """A NUMA node of the guest: its vcpus as a set, and its memory; `mem_access` is libvirt's."""

    cpus: str
    memory_bytes: int
    mem_access: str = ""


class NumaTune(Struct, frozen=True, kw_only=True):
    """The NUMA nodes of the host that the guest's memory comes from, as a set."""

    nodeset: str
    mode: str = "strict"


class Cpu(Struct, frozen=True, kw_only=True):
    """The guest's CPU; `mode` in libvirt's words, `model` for `custom` only, `features` by libvirt's policy.

    The order of `numa` numbers the cells.
    """

    mode: str
    model: str = ""
    match: str = ""
    fallback: str = ""
    check: str = ""
    topology: Topology | None = None
    numa: tuple[NumaCell, ...] = ()
    features: Mapping[str, str] = field(default_factory=dict)


class CpuTune(Struct, frozen=True, kw_only=True):
    """How the host shares its CPUs out to the guest; the CPUs of a thread as sets, by its number."""

    shares: int | None = None
    period: int | None = None
    quota: int | None = None
    vcpupin: Mapping[str, str] = field(default_factory=dict)
    emulatorpin: str = ""
    iothreadpin: Mapping[str, str] = field(default_factory=dict)


class Firmware(Struct, frozen=True, kw_only=True):
    """`bios`, or `uefi` with a loader that libvirt chooses; `secure_boot` None leaves that to it too."""

    kind: str = "bios"
    secure_boot: bool | None = None


class BootMenu(Struct, frozen=True, kw_only=True):
    """Whether the guest's firmware offers a menu of what to boot from, and for how long."""

    enable: bool = True
    timeout_ms: int | None = None


class Graphics(Struct, frozen=True, kw_only=True):
    """A screen; `port` None lets libvirt choose one, `listen` `default` takes the address of qemu.conf."""

    kind: str
    listen: str = "127.0.0.1"
    port: int | None = None
    image_compression: str = ""


class Input(Struct, frozen=True, kw_only=True):
    """A pointer or a keyboard beside those that every machine has."""

    type: str
    bus: str = "usb"


class UsbController(Struct, frozen=True, kw_only=True):
    """The first USB controller, where libvirt is not to choose it."""

    model: str = "qemu-xhci"
    ports: int | None = None


class Filesystem(Struct, frozen=True, kw_only=True):
    """A folder of the host that the guest mounts by virtiofs, by its tag `target`."""

    source: str
    target: str


class HostDevice(Struct, frozen=True, kw_only=True):
    """A device of the host that the guest gets for itself.

    `kind` is libvirt's: `pci` with the address 0000:06:00.0, `usb` with vendor:product, `mdev` with its UUID.
    """

    kind: str
    address: str
    managed: bool

    @property
    def model(self) -> str:
        """libvirt's model of a mediated device, "" for others."""
        return "vfio-pci" if self.kind == "mdev" else ""

    @property
    def source(self) -> tuple[tuple[str, Mapping[str, str]], ...]:
        """The elements and their attributes by which libvirt knows it."""
        if self.kind == "mdev":
            return (("address", {"uuid": self.address}),)
        if self.kind == "usb":
            vendor, product = self.address.split(":")
            return ("vendor", {"id": f"0x{vendor}"}), ("product", {"id": f"0x{product}"})
        domain, bus, place = self.address.split(":")
        slot, function = place.split(".")
        numbers = {"domain": domain, "bus": bus, "slot": slot, "function": function}
        return (("address", {name: f"0x{number}" for name, number in numbers.items()}),)


class Memballoon(Struct, frozen=True, kw_only=True):
    """The memory balloon; `stats_period` in seconds."""

    model: str = "virtio"
    autodeflate: bool | None = None
    free_page_reporting: bool | None = None
    stats_period: int | None = None


class Watchdog(Struct, frozen=True, kw_only=True):
    model: str
    action: str


class Tpm(Struct, frozen=True, kw_only=True):
    """An emulated TPM, by swtpm."""

    model: str
    version: str


class Domain(Struct, frozen=True, kw_only=True):
    """A domain as its spec wants it, with every default decided.

    `memory_bytes` and `vcpus` are its maxima, the `current_` fields what it starts with, None for all.
    `hugepages_bytes` 0 takes the host's default size. `vsock_cid` 0 lets libvirt choose. `features`: what is
    switched on or off, in libvirt's words. `boot`: the kinds of devices that the guest boots from, where no device has
    an order of its own. `timers`: whether the guest has one, or what happens to ticks that it
    missed. `channels`: the names of virtio ports of the guest, each a socket of the
    host. `silence`: the codes of lints that are not reported.
    """

    name: str
    uuid: str
    memory_bytes: int
    vcpus: int
    machine: str
    hypervisor: str
    host: str
    disks: tuple[Disk, ...]
    title: str = ""
    description: str = ""
    current_memory_bytes: int | None = None
    memballoon: Memballoon | None = None
    hugepages_bytes: int | None = None
    current_vcpus: int | None = None
    cpuset: str = ""
    cputune: CpuTune | None = None
    numatune: NumaTune | None = None
    cpu: Cpu | None = None
    machine_upgrade: bool = False
    firmware: Firmware = field(default_factory=Firmware)
    boot: tuple[str, ...] = ()
    boot_menu: BootMenu | None = None
    clock: str = "utc"
    timers: Mapping[str, bool | str] = field(default_factory=dict)
    features: Mapping[str, bool] = field(default_factory=lambda: {"acpi": True, "apic": True})
    on_poweroff: str = ""
    on_reboot: str = ""
    on_crash: str = ""
    pm: Mapping[str, bool] = field(default_factory=dict)
    cdroms: tuple[Cdrom, ...] = ()
    seed: Seed | None = None
    interfaces: tuple[Interface, ...] = ()
    hostdevs: tuple[HostDevice, ...] = ()
    filesystems: tuple[Filesystem, ...] = ()
    graphics: Graphics | None = None
    video: str = ""
    usb_controller: UsbController | None = None
    inputs: tuple[Input, ...] = ()
    sound: str = ""
    spice_agent: bool = False
    usb_redirections: int = 0
    serial_console: bool = True
    guest_agent: bool = True
    channels: tuple[str, ...] = ()
    rng: bool = True
    asset_tag: bool = True
    watchdog: Watchdog | None = None
    tpm: Tpm | None = None
    vsock_cid: int | None = None
    autostart: bool = False
    state: WantedState = WantedState.UNMANAGED
    template: str = "domain.xml.j2"
    xml: Overlay | None = None
    silence: tuple[str, ...] = ()
    origin: str = ""
    digest: str = ""

    @property
    def shares_memory(self) -> bool:
        """Whether all memory must be shared with virtiofsd, because its NUMA cells do not say so themselves."""
        cells = self.cpu.numa if self.cpu else ()
        is_said = bool(cells) and all(cell.mem_access == "shared" for cell in cells)
        return bool(self.filesystems) and not is_said

    @property
    def iothreads(self) -> int:
        """How many I/O threads its disks need."""
        return max((disk.iothread or 0 for disk in self.disks), default=0)


class Hold(Struct, frozen=True, kw_only=True):
    """A hold, for maintenance. `until` in seconds since 1970, None until it is released."""

    until: float | None = None
    why: str = ""

    def holds_at(self, now: float) -> bool:
        """Whether it applies now."""
        return self.until is None or now < self.until

    @property
    def why_told(self) -> str:
        """The reason, to be appended to a message; empty where none was given."""
        return f" ({cut(self.why)})" if self.why else ""


class ForeignChange(Struct, frozen=True, kw_only=True):
    """A change by others in a definition where no spec states anything: at `path`, from `was` to `found`.

    An empty `was` is an addition, an empty `found` a removal.
    """

    path: str
    was: str
    found: str

    def __str__(self) -> str:
        return f"{cut(self.path)}: {cut(self.was) or 'absent'} -> {cut(self.found) or 'absent'}"


class DomainMark(Struct, frozen=True, kw_only=True):
    """virtrbd's own metadata element; it counts only where `uuid` is the domain's: copies carry it too.

    `stated`: the paths of everything that the last rendering stated: virtrbd may remove nothing else again.
    `foreign`: changes by others, as long as they are there; `ignored`: the paths that virtrbd leaves alone.
    `balloon_bytes`: the memory that the guest was asked to have, at its start or since; 0 in marks without it.
    `generation`: the run of its guest that the images record (LastRun); a managed save keeps it with the live XML.
    `places`: where the stated devices are, by step (own_devices): others may have a device of the same key.
    `forms`: how libvirt writes what was stated, where it differs (domainxml/forms).
    """

    uuid: str
    host: str
    inputs: str = ""
    definition: str = ""
    stated: tuple[str, ...] = ()
    foreign: tuple[ForeignChange, ...] = ()
    ignored: tuple[str, ...] = ()
    hold: Hold | None = None
    balloon_bytes: int = 0
    generation: str = ""
    places: tuple[tuple[str, str], ...] = ()
    forms: tuple[str, ...] = ()


class ManagedSave(Struct, frozen=True, kw_only=True):
    """The managed save of a domain: the generation of its guest, "" where its XML has none."""

    domain: str
    generation: str = ""


class DefinedDisk(Struct, frozen=True, kw_only=True):
    """A disk as a definition has it."""

    target: str
    bus: str
    image: ImageRef | None
    cache: str
    discard: str
    device: str
    readonly: bool
    shareable: bool

    @property
    def is_written(self) -> bool:
        """Whether only this guest writes to it: it must never be open twice."""
        return self.image is not None and not (self.readonly or self.shareable or self.device != "disk")
