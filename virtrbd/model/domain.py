"""Domains: as they should be, and as libvirt holds them."""

from dataclasses import dataclass
from enum import StrEnum

from virtrbd.model.image import ImageRef


class Bus(StrEnum):
    VIRTIO = "virtio"
    SCSI = "scsi"
    SATA = "sata"
    IDE = "ide"


class Cache(StrEnum):
    NONE = "none"
    WRITETHROUGH = "writethrough"
    WRITEBACK = "writeback"
    DIRECTSYNC = "directsync"
    UNSAFE = "unsafe"


class Discard(StrEnum):
    UNMAP = "unmap"
    IGNORE = "ignore"


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
        """Whether a QEMU process stands behind it."""
        return self in (PowerState.RUNNING, PowerState.PAUSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A disk as the domain sees it, keyed by target. `size_bytes` None: as large as its source."""

    target: str
    bus: Bus
    image: ImageRef
    size_bytes: int | None = None
    clone: ImageRef | None = None
    import_file: str = ""
    existing: bool = False
    cache: Cache = Cache.WRITEBACK
    discard: Discard = Discard.UNMAP
    boot: int | None = None
    readonly: bool = False
    shareable: bool = False
    line: int = 0

    @property
    def is_written(self) -> bool:
        """Whether the guest writes to it alone: what must never be open twice."""
        return not (self.readonly or self.shareable or self.image.snapshot)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """A network interface, keyed by MAC."""

    mac: str
    network: str = ""
    bridge: str = ""
    model: str = "virtio"


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """A domain as its spec wants it: every default is decided."""

    name: str
    uuid: str
    memory_bytes: int
    vcpus: int
    machine: str
    hypervisor: str
    host: str
    disks: tuple[Disk, ...]
    interfaces: tuple[Interface, ...] = ()
    serial_console: bool = True
    guest_agent: bool = True
    autostart: bool = False
    origin: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainMark:
    """virtrbd's own metadata element; it counts only where `uuid` is the domain's: copies carry it too.

    `devices` are the keys of the devices that virtrbd put there: the only ones it may take away again.
    """

    uuid: str
    host: str
    inputs: str = ""
    definition: str = ""
    devices: tuple[str, ...] = ()


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
class DefinedDisk:
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
        """Whether the guest writes to it alone: what must never be open twice."""
        return self.image is not None and not (self.readonly or self.shareable or self.device != "disk")
