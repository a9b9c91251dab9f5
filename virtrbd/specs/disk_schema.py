"""The schema of a disk or a CD-ROM drive in a spec."""

import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, StrictInt, model_validator

from virtrbd.model.checksum import is_checksum, parse_checksum
from virtrbd.model.disk import Bus, Cache, DetectZeroes, Discard
from virtrbd.model.import_file import is_url, require_fetchable
from virtrbd.printable import quoted
from virtrbd.specs.checked import Boot, Bytes, ImageName, Plain, SizeBytes, Strict, absolute

TARGET_PREFIX = {Bus.VIRTIO: "vd", Bus.SCSI: "sd", Bus.SATA: "sd", Bus.IDE: "hd", Bus.USB: "sd"}

Target = Annotated[str, Field(pattern=r"^(vd|sd|hd)[a-z]$")]
Rate = Annotated[StrictInt, Field(ge=0, le=10**15)]


def _wwn(wwn: str) -> str:
    if not re.fullmatch(r"(0x)?[0-9a-fA-F]{16}", wwn):
        raise ValueError(f"{quoted(wwn)} is not a WWN; write 16 hexadecimal digits, in quotes")
    return wwn.removeprefix("0x").lower()


def _on_off(value: object) -> object:
    # YAML 1.1 reads on and off as booleans.
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


def _iothreads(value: object) -> object:
    """Return the queues by thread; of a list each thread has none, and one queue is a list of one."""
    if isinstance(value, list):
        numbers = [str(thread) for thread in value]
        if len(set(numbers)) < len(numbers):
            raise ValueError("an I/O thread is named twice; name it once")
        return dict.fromkeys(numbers, ())
    if isinstance(value, dict):
        stated = {str(thread): queues for thread, queues in value.items() if queues is not None}
        return {thread: queues if isinstance(queues, list) else [queues] for thread, queues in stated.items()}
    return value


def _require_importable(name: str, checksum: str) -> None:
    """Raise ValueError for a URL that cannot be fetched, or a checksum that cannot verify a file."""
    if checksum and not is_checksum(checksum) and not is_url(checksum):
        raise ValueError(f"{quoted(checksum)} is not a checksum; write sha256:…, or the https URL of a list of them")
    if checksum and is_checksum(checksum):
        parse_checksum(checksum)
    if is_url(name):
        if not checksum:
            raise ValueError(
                "import of a URL needs checksum, because the file may change; write sha256:… or a list's URL"
            )
        require_fetchable(name, checksum)


class IoTuneSpec(Strict):
    """Limits on what the guest may do with the disk, in libvirt's own words; 0 means no limit."""

    total_bytes_sec: Rate | None = None
    read_bytes_sec: Rate | None = None
    write_bytes_sec: Rate | None = None
    total_iops_sec: Rate | None = None
    read_iops_sec: Rate | None = None
    write_iops_sec: Rate | None = None
    total_bytes_sec_max: Rate | None = None
    read_bytes_sec_max: Rate | None = None
    write_bytes_sec_max: Rate | None = None
    total_iops_sec_max: Rate | None = None
    read_iops_sec_max: Rate | None = None
    write_iops_sec_max: Rate | None = None
    size_iops_sec: Rate | None = None
    group_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")] | None = None
    total_bytes_sec_max_length: Rate | None = None
    read_bytes_sec_max_length: Rate | None = None
    write_bytes_sec_max_length: Rate | None = None
    total_iops_sec_max_length: Rate | None = None
    read_iops_sec_max_length: Rate | None = None
    write_iops_sec_max_length: Rate | None = None

    @model_validator(mode="after")
    def _says_total_or_both(self) -> Self:
        given = self.model_dump(exclude_none=True)
        for kind in ("bytes_sec", "iops_sec"):
            for tail in ("", "_max", "_max_length"):
                apart = [word for word in (f"read_{kind}{tail}", f"write_{kind}{tail}") if given.get(word)]
                if given.get(f"total_{kind}{tail}") and apart:
                    raise ValueError(f"total_{kind}{tail} and {apart[0]} exclude each other; keep one of the two")
        for word in given:
            base, has_tail, _ = word.partition("_max")
            if has_tail and not given.get(base):
                raise ValueError(f"{word} needs {base} beside it; a burst is measured against the steady rate")
        return self


class DiskSpec(Strict):
    """One disk: an RBD image behind a target."""

    # libvirt's attributes without a field in specs, and why (libvirt's disk validation, or no effect on RBD).
    refused: ClassVar[dict[str, str]] = {
        "snapshot": "write it behind the image: image: pool/image@snapshot",
        "device": "write a CD-ROM under cdroms:; libvirt refuses lun on RBD",
        "transient": "libvirt has it for files only; clone a snapshot instead",
        "startup_policy": "libvirt has it for files only; leave it out",
        "encryption": "not supported; write it in xml:",
        "queue_size": "not supported; write it in xml:",
        "copy_on_read": "caches nothing on RBD; clone or flatten the image instead",
        "backing_store": "RBD keeps the parent itself; write clone: pool/image@snapshot",
        "reservations": "libvirt has them for lun only; leave it out",
    }

    target: Annotated[Target | None, Field(description="As the guest numbers it: vda; the next free one.")] = None
    bus: Annotated[Bus | None, Field(description="virtio unless stated.")] = None
    image: Annotated[
        ImageName | None, Field(description="pool[/namespace]/image[@snapshot]; <pool>/<domain>.<target>.")
    ] = None
    size: Annotated[SizeBytes | None, Field(description="Like 20G; images grow, they never shrink.")] = None
    clone: Annotated[ImageName | None, Field(description="The snapshot that the image is cloned from.")] = None
    import_file: Annotated[
        Plain | None, Field(alias="import", description="The file or URL that is imported into the image.")
    ] = None
    format: Annotated[
        Literal["raw", "qcow2", "vdi", "vhdx", "vmdk", "vpc"] | None,
        Field(description="The format of the imported file, where its bytes mislead: raw takes any bytes."),
    ] = None
    member: Annotated[Plain | None, Field(description="The disk in an OVA or tar archive that has several.")] = None
    checksum: Annotated[
        Plain | None, Field(description="Of the imported file: sha256:…, or the https URL of a list like SHA256SUMS.")
    ] = None
    existing: Annotated[
        StrictBool | None, Field(description="Use an existing image: virtrbd never makes, resizes or trashes it.")
    ] = None
    cache: Annotated[Cache | None, Field(description="writeback unless stated.")] = None
    discard: Annotated[
        Discard | None, Field(description="unmap unless stated: trimmed space goes back to the pool.")
    ] = None
    discard_granularity: Annotated[
        Bytes | None,
        Field(ge=0, description="For the guest: 64K unless stated, where libvirt can express it."),
    ] = None
    detect_zeroes: Annotated[
        DetectZeroes | None, BeforeValidator(_on_off), Field(description="Turn writes of zeroes into discards.")
    ] = None
    io: Annotated[
        Literal["native", "threads", "io_uring"] | None,
        Field(description="libvirt keeps it, and it has no effect on RBD; native needs cache none or directsync."),
    ] = None
    iotune: Annotated[IoTuneSpec | None, Field(description="Limits, in libvirt's words.")] = None
    serial: Annotated[
        str | None,
        Field(pattern=r"^[A-Za-z0-9_.+ -]+$", max_length=36, description="The guest's /dev/disk/by-id."),
    ] = None
    wwn: Annotated[str | None, AfterValidator(lambda wwn: wwn and _wwn(wwn)), Field(description="16 hex digits.")] = (
        None
    )
    rotation_rate: Annotated[
        StrictInt | None, Field(description="1 for an SSD, else rpm from 1025; sata, ide and scsi only.")
    ] = None
    iothread: Annotated[StrictInt | None, Field(ge=1, le=64, description="Number of the I/O thread; virtio only.")] = (
        None
    )
    iothreads: Annotated[
        dict[
            Annotated[str, Field(pattern=r"^([1-9]|[1-5][0-9]|6[0-4])$")],
            Annotated[tuple[Annotated[StrictInt, Field(ge=0, le=255)], ...], Field(max_length=256)],
        ]
        | None,
        BeforeValidator(_iothreads, json_schema_input_type=list[StrictInt] | dict[str, StrictInt | list[StrictInt]]),
        Field(
            min_length=1,
            description="I/O threads that share the queues out, like [1, 2], or {1: 0, 2: [1, 2]}; virtio only.",
        ),
    ] = None
    queues: Annotated[StrictInt | None, Field(ge=1, le=256, description="Virtqueues; virtio only.")] = None
    error_policy: Annotated[
        Literal["stop", "report", "ignore", "enospace"] | None, Field(description="What a failed write does.")
    ] = None
    rerror_policy: Annotated[
        Literal["stop", "report", "ignore"] | None, Field(description="What a failed read does.")
    ] = None
    # libvirt's schema refuses a relative path (domaincommon.rng, diskSourceNetworkConfig).
    ceph_config: Annotated[
        Plain | None,
        AfterValidator(lambda path: path and absolute(path)),
        Field(description="A ceph.conf for this disk's QEMU, one of the settings' ceph_configs."),
    ] = None
    boot: Annotated[Boot | None, Field(description="Boot order, from 1.")] = None
    readonly: Annotated[StrictBool | None, Field(description="The guest can't write; virtio, scsi and usb.")] = None
    shareable: Annotated[StrictBool | None, Field(description="Several guests write to it; cache: none.")] = None

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        sources = [word for word, given in (
            ("clone", self.clone), ("import", self.import_file), ("existing", self.existing)
        ) if given]  # fmt: skip
        beside = [word for word in ("format", "member", "checksum") if getattr(self, word)]
        if beside and not self.import_file:
            raise ValueError(f"{beside[0]} describes the file of import:; images in RBD are raw")
        if self.member and self.format == "raw":
            raise ValueError("format: raw takes the archive itself as the disk; leave out format or member")
        if self.import_file:
            _require_importable(self.import_file, self.checksum or "")
        if len(sources) > 1:
            raise ValueError(f"{' and '.join(sources)} contradict each other; keep one")
        if not sources and self.size is None and not (self.image and self.image.snapshot):
            raise ValueError("no size; write size: 20G, or clone, import or existing: true")
        if self.iothread and self.iothreads:
            raise ValueError("iothread and iothreads contradict each other; keep one")
        if self.existing and self.size is not None:
            raise ValueError("existing: true uses an image as it is, without a size; keep one of the two")
        if self.clone and not self.clone.snapshot:
            raise ValueError(f"{self.clone} is not a snapshot; clone takes pool/image@snapshot")
        return self


class CdromSpec(Strict):
    """One CD-ROM drive, empty without an image."""

    target: Annotated[Target | None, Field(description="sda, or hda on ide; the next free one.")] = None
    bus: Annotated[Literal["sata", "ide", "scsi", "usb"] | None, Field(description="sata on q35, ide on pc.")] = None
    image: Annotated[ImageName | None, Field(description="An RBD image that holds an ISO; none: an empty drive.")] = (
        None
    )
    boot: Annotated[Boot | None, Field(description="Boot order, from 1.")] = None

    @model_validator(mode="after")
    def _has_what_usb_starts_with(self) -> Self:
        if self.bus == "usb" and not self.image:
            raise ValueError("a guest with an empty drive on usb does not start; name an image, or write sata or scsi")
        return self
