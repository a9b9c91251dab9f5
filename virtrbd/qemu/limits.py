"""The limits of an era of QEMU: spec values that it can't have are refused where data are at stake, else noted."""

from virtrbd.model.cache import CACHE_FACTS
from virtrbd.model.capabilities import Version, version_text
from virtrbd.model.disk import Bus, Cdrom, DetectZeroes, Discard, Disk
from virtrbd.model.domain import Domain
from virtrbd.model.image import ImageRef
from virtrbd.qemu.backend import Client, is_readonly
from virtrbd.qemu.device import properties, states_granularity
from virtrbd.qemu.era import OLDEST, Era
from virtrbd.qemu.throttle import missing_limits

_IDE_TARGETS = ("hda", "hdb", "hdc", "hdd")
VIRTIO_SCSI: Version = (1, 1, 0)


def domain_problems(domain: Domain, client: Client, era: Era) -> list[str]:
    """Return why this QEMU can't run the domain's disks, each as `file:line: disk: reason`."""
    if era.qemu < OLDEST:
        return [_at(domain, 0, f"QEMU {version_text(era.qemu)} is too old; write qemu=1.0 or newer")]
    found = []
    for disk in domain.disks:
        texts = [*_bus_problems(disk, era), *_image_problems(disk.image, era), *_disk_problems(disk, client, era)]
        found += [_at(domain, disk.line, f"disk {disk.target}: {text}") for text in texts]
    for cdrom in domain.cdroms:
        texts = [*_bus_problems(cdrom, era), *(_image_problems(cdrom.image, era) if cdrom.image else [])]
        if cdrom.bus is Bus.VIRTIO:
            texts.append("a CD-ROM drive can't be virtio; write sata, ide or scsi")
        found += [_at(domain, cdrom.line, f"cdrom {cdrom.target}: {text}") for text in texts]
    return found


def _at(domain: Domain, line: int, text: str) -> str:
    file, _, first = domain.origin.rpartition(":")
    return f"{file}:{line or first}: {text}" if file else f"{domain.name}: {text}"


def _bus_problems(drive: Disk | Cdrom, era: Era) -> list[str]:
    match drive.bus:
        case Bus.IDE if era.is_q35:
            return ["q35 has no IDE controller; write machine: pc, or bus: sata"]
        case Bus.IDE if drive.target not in _IDE_TARGETS:
            return ["the only IDE controller has hda to hdd; write sata, scsi or virtio"]
        case Bus.SCSI if era.qemu < VIRTIO_SCSI:
            return ["virtio-scsi came with QEMU 1.1; write virtio or ide"]
        case _:
            return []


def _image_problems(image: ImageRef, era: Era) -> list[str]:
    if image.namespace and not era.has_namespaces:
        return [f"namespaces came with QEMU 5.0, and for this QEMU {image.path} is another image; move it to the pool"]
    return []


def _disk_problems(disk: Disk, client: Client, era: Era) -> list[str]:
    found = []
    if is_readonly(disk) and disk.bus in (Bus.IDE, Bus.SATA):
        found.append(f"QEMU's {disk.bus} disks can't be readonly; write virtio or scsi")
    if disk.bus in (Bus.IDE, Bus.SATA) and disk.discard_granularity_bytes not in (None, 512):
        found.append(f"{disk.bus} disks have a discard_granularity of 512 only in QEMU; write scsi or virtio for more")
    found += [
        f"{row.spec_word} does not exist for {disk.bus} disks; write {', '.join(sorted(row.buses))}"
        for row, _, _ in properties(disk)
        if disk.bus not in row.buses
    ]
    if not era.has_blockdev:
        found += _file_name_problems(disk, client)
    return found


def _file_name_problems(disk: Disk, client: Client) -> list[str]:
    """What rbd: file names can't hold before 6.1; virtrbd writes them only before 4.2."""
    found = []
    # qemu_rbd_parse_clientname() unescaped nothing before 2.9.
    if any(char in client.user for char in ":@\\"):
        found.append(
            f"the user {client.user} can't be written in a file name of this QEMU; use letters and digits only"
        )
    # A plain strchr() looked for the snapshot's @ before 6.1, in the options too.
    if "@" in (disk.ceph_config or client.conf) and not disk.image.snapshot:
        found.append("this QEMU takes the @ in the path of ceph.conf for a snapshot's; use a path without it")
    return found


def domain_notes(domain: Domain, era: Era) -> list[str]:
    """Return the values of the spec that have no effect there, or another effect."""
    found = []
    if domain.firmware.kind != "bios":
        found.append(f"firmware {domain.firmware.kind} is left out; its pflash drives are the host's own files")
    if era.cache_drives_librbd and not era.cache_beats_ceph_conf:
        found.append("an rbd_cache in ceph.conf overrides cache= before QEMU 2.4; remove it there")
    for disk in domain.disks:
        texts = [
            *_cache_notes(disk, era),
            *_discard_notes(disk, era),
            *_property_notes(disk, era),
            *_thread_notes(disk),
        ]
        found += [f"disk {disk.target}: {text}" for text in texts]
    return found


def _cache_notes(disk: Disk, era: Era) -> list[str]:
    if (
        disk.bus is Bus.USB
        and era.has_blockdev
        and not (era.usb_has_block_properties or CACHE_FACTS[disk.cache].write_cache)
    ):
        return [f"usb-storage has no write-cache before QEMU 9.0, so {disk.cache} is not flushed after each write"]
    return []


def _discard_notes(disk: Disk, era: Era) -> list[str]:
    found = []
    if disk.discard is Discard.UNMAP and not era.discards:
        found.append("QEMU discards on RBD from 1.1 on; discard has no effect")
    elif disk.discard is Discard.UNMAP and disk.bus is Bus.VIRTIO and not era.virtio_discards:
        found.append(
            "virtio-blk discards from QEMU 4.0 with a machine of 4.0 on; discard has no effect here, only on scsi"
        )
    elif disk.discard_granularity_bytes is not None and not states_granularity(disk.bus, era):
        since = {Bus.VIRTIO: "6.0 with a machine of 6.0", Bus.USB: "9.0"}.get(disk.bus, "1.1")
        found.append(f"a {disk.bus} guest sees discard_granularity from QEMU {since} on")
    return found


def _thread_notes(disk: Disk) -> list[str]:
    # hw/core/qdev-properties-system.c: iothread-vq-mapping is a list.
    return ["iothreads is left out; QEMU takes it from a -device in JSON only"] if disk.iothreads else []


def _property_notes(disk: Disk, era: Era) -> list[str]:
    since = [(row.spec_word, item.since) for row, item, _ in properties(disk)]
    if disk.detect_zeroes not in (None, DetectZeroes.OFF):
        since.append(("detect_zeroes", (2, 1, 0)))
    found = [
        f"{field} came with QEMU {version_text(version)}; left out"
        for field, version in since
        if era.qemu < version and field != "shareable"
    ]
    if missing_limits(disk, era.qemu):
        found.append(f"this QEMU can't limit {', '.join(missing_limits(disk, era.qemu))}; left out")
    return found
