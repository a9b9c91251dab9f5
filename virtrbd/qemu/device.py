"""What the guest sees: controllers, and a device for each disk and CD-ROM drive."""

from collections.abc import Iterator, Sequence

from virtrbd.model.attributes import DISK, Attribute, Property
from virtrbd.model.cache import CACHE_FACTS
from virtrbd.model.disk import Bus, Cache, Discard, Disk
from virtrbd.qemu.backend import backend_id, error_policies, option_text
from virtrbd.qemu.era import Era

_MODELS = {
    Bus.VIRTIO: "virtio-blk-pci",
    Bus.SCSI: "scsi-hd",
    Bus.SATA: "ide-hd",
    Bus.IDE: "ide-hd",
    Bus.USB: "usb-storage",
}
_DRIVES = {Bus.SCSI: "scsi-cd", Bus.SATA: "ide-cd", Bus.IDE: "ide-cd"}
_AHCI_PORTS = 6
# librbd drops smaller discards from 14.1.1 on (rbd_discard_granularity_bytes), which is as old as QEMU 4.2.
_LIBRBD_GRANULARITY = 65536
_SCSI_GRANULARITY = 4096  # hw/scsi/scsi-disk.c: DEFAULT_DISCARD_GRANULARITY, from 1.5 on
_IDE_GRANULARITY = 512  # hw/ide: nothing else is accepted


def properties(disk: Disk) -> Iterator[tuple[Attribute, Property, str]]:
    """Yield what the disk states that is a property of its device, with the value as QEMU writes it."""
    for row in DISK:
        value = row.stated(disk)
        if row.qemu_property and value is not None:
            yield row, row.qemu_property, row.qemu_property.text(value)


def controllers(buses: Sequence[Bus], era: Era) -> list[tuple[str, str]]:
    """Return the -device options of the controllers that drives on these buses need, one entry each."""
    models = [f"ich9-ahci,id=ahci{index}" for index in range(-(-buses.count(Bus.SATA) // _AHCI_PORTS))]
    if Bus.SCSI in buses:
        models.append("virtio-scsi-pci,id=scsi0")
    if Bus.USB in buses:
        # As many ports as it can have, like libvirt; before 2.10 there is no qemu-xhci.
        models.append("qemu-xhci,id=usb0,p2=15,p3=15" if era.qemu >= (2, 10, 0) else "usb-ehci,id=usb0")
    return [("-device", model) for model in models]


def address(bus: Bus, index: int) -> list[tuple[str, str]]:
    """Return the place of a drive on its bus: the position on ide, else its index among the drives of that bus."""
    match bus:
        case Bus.IDE:
            return [("bus", f"ide.{index // 2}"), ("unit", str(index % 2))]
        case Bus.SATA:
            return [("bus", f"ahci{index // _AHCI_PORTS}.{index % _AHCI_PORTS}")]
        case Bus.SCSI:
            return [("bus", "scsi0.0"), ("channel", "0"), ("scsi-id", str(index)), ("lun", "0")]
        case Bus.USB:
            return [("bus", "usb0.0")]
        case Bus.VIRTIO:
            return []


def disk_device(disk: Disk, index: int, era: Era) -> tuple[str, str]:
    """Return the -device option of a disk."""
    pairs = [("drive", backend_id(disk.target))]
    granularity = discard_granularity(disk, era)
    if granularity is not None:
        pairs.append(("discard_granularity", str(granularity)))
    if _states_write_cache(disk, era):
        pairs.append(("write-cache", "on" if CACHE_FACTS[disk.cache].write_cache else "off"))
    if era.has_blockdev:
        pairs += error_policies(disk)
    pairs += [(item.name, text) for _, item, text in properties(disk) if era.qemu >= item.since]
    return _device(_MODELS[disk.bus], [*pairs, ("id", disk.target), *address(disk.bus, index)])


def cdrom_devices(disk: Disk, index: int, era: Era, *, has_backend: bool) -> list[tuple[str, str]]:
    """Return the -device options of a CD-ROM drive: two on usb, with a bridge to SCSI."""
    pairs = [("drive", backend_id(disk.target))] if has_backend else []
    if disk.boot is not None:
        pairs.append(("bootindex", str(disk.boot)))
    pairs.append(("id", disk.target))
    at = address(disk.bus, index)
    if disk.bus is not Bus.USB:
        return [_device(_DRIVES[disk.bus], [*pairs, *at])]
    if not era.has_blockdev:  # usb-storage becomes a CD-ROM drive by media=cdrom, which -blockdev doesn't have
        return [_device("usb-storage", [*pairs, *at])]
    bridge = f"bot-{disk.target}"
    return [
        _device("usb-bot", [("id", bridge), *at]),
        _device("scsi-cd", [*pairs, ("bus", f"{bridge}.0"), ("lun", "0")]),
    ]


def _device(model: str, pairs: list[tuple[str, str]]) -> tuple[str, str]:
    return "-device", f"{model},{option_text(pairs)}"


def _states_write_cache(disk: Disk, era: Era) -> bool:
    honoured = disk.bus is not Bus.USB or era.usb_has_block_properties
    return disk.cache is not Cache.DEFAULT and era.has_write_cache and honoured


def discard_granularity(disk: Disk, era: Era) -> int | None:
    """Return the device's discard_granularity in bytes, None where the default is right."""
    if not era.discards or (disk.discard is not Discard.UNMAP and not era.has_discard_option):
        return None  # it cannot discard, or can ignore discards only by not offering them
    if disk.discard_granularity_bytes is not None:
        return disk.discard_granularity_bytes if states_granularity(disk.bus, era) else None
    if disk.discard is not Discard.UNMAP or disk.bus is Bus.USB:
        return None
    if not era.offers_discard_by_default:
        return {Bus.IDE: _IDE_GRANULARITY, Bus.SATA: _IDE_GRANULARITY, Bus.SCSI: _SCSI_GRANULARITY}.get(disk.bus)
    is_worth_it = era.has_blockdev and disk.bus in (Bus.SCSI, Bus.VIRTIO) and states_granularity(disk.bus, era)
    return _LIBRBD_GRANULARITY if is_worth_it else None


def states_granularity(bus: Bus, era: Era) -> bool:
    """Whether the guest sees a granularity that the device has."""
    match bus:
        case Bus.VIRTIO:
            return era.virtio_states_granularity
        case Bus.USB:
            return era.usb_has_block_properties
        case _:
            return era.discards
