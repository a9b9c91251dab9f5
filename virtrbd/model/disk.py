"""Disks: as specs want them, and as libvirt holds them."""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct, field

from virtrbd.model.image import ImageRef
from virtrbd.model.import_file import ImportFile


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


class Disk(Struct, frozen=True, kw_only=True):
    """A disk as the domain sees it, keyed by target. `size_bytes` None: as large as its source.

    `discard_granularity_bytes` is announced to the guest, None where the spec has none; `iotune` holds libvirt's own
    names. `iothreads` has the queues that each I/O thread serves, by its number, none where QEMU shares them out. The
    file to import must lie beneath one of the folders in `import_beneath`; the other fields that begin with `import_`
    are an ImportFile's.
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
    iothreads: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
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
