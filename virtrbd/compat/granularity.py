"""The discard granularity: how a guest gets it, and its default."""

from collections.abc import Iterator

from virtrbd.model.capabilities import Capabilities, Version
from virtrbd.model.disk import Bus, Discard, Disk
from virtrbd.model.size import format_size
from virtrbd.qemu.device import states_granularity
from virtrbd.qemu.era import Era

# librbd drops smaller discards, from 14.1.1 on (rbd_discard_granularity_bytes, rbd_skip_partial_discard).
LIBRBD_FLOOR = 65536
DEFAULT_OBJECT_BYTES = 4 * 1024**2
_SECTOR = 512

_BLOCKIO: Version = (9, 7, 0)
_BLOCKIO_TAKES_0: Version = (11, 6, 0)
# It came with 8.2, works alone from 8.3, and no longer crashes from 8.5 on (95bd137216).
_OVERRIDE: Version = (8, 5, 0)


def device_default(bus: Bus, era: Era) -> int:
    """Return a device's default; 0 offers no discard at all.

    QEMU hw/ide/ide-dev.c, hw/scsi/scsi-disk.c, hw/block/virtio-blk.c; hw_compat_1_4 pins 0.
    """
    if not era.offers_discard_by_default:
        return 0
    return 4096 if bus in (Bus.SCSI, Bus.USB) else _SECTOR


def granularity_to_state(disk: Disk, capabilities: Capabilities, object_bytes: int) -> int | None:
    """Return the bytes to state for the device, None where its default is right."""
    era = Era.of(capabilities)
    stated = disk.discard_granularity_bytes
    if stated is not None:
        return None if stated == device_default(disk.bus, era) else stated
    can_say = capabilities.libvirt >= _BLOCKIO and states_granularity(disk.bus, era)
    discards = disk.discard is Discard.UNMAP and not disk.readonly
    if disk.bus in (Bus.VIRTIO, Bus.SCSI) and can_say and discards:
        return min(LIBRBD_FLOOR, object_bytes)
    return None


def granularity_way(size_bytes: int, capabilities: Capabilities) -> str:
    """Return the field of Fitted for the way in which this libvirt passes the bytes to QEMU."""
    # Up to 11.5 libvirt passes on positive values only (qemuBuildDiskDeviceProps, "p:").
    if capabilities.libvirt >= (_BLOCKIO if size_bytes else _BLOCKIO_TAKES_0):
        return "blockio"
    return "override" if capabilities.libvirt >= _OVERRIDE else "set_device"


def json_device_capability(capabilities: Capabilities) -> str:
    """Return the capability by which libvirt writes -device as JSON, which -set can't reach; empty where it does not.

    libvirt c9b13e0557, bd3d00babc and 1a691fe1c8: 7.9 and 7.10 did, 8.0 does not, 8.1 does again, by another name.
    """
    if capabilities.qemu < (6, 2, 0):
        return ""
    if (7, 9, 0) <= capabilities.libvirt < (8, 0, 0):
        return "device.json"
    return "device.json+hotplug" if capabilities.libvirt >= (8, 1, 0) else ""


def granularity_problems(disk: Disk, capabilities: Capabilities, object_bytes: int) -> Iterator[str]:
    """Yield why a stated granularity is not possible."""
    stated, era = disk.discard_granularity_bytes, Era.of(capabilities)
    if stated is None:
        return
    what = f"discard_granularity {stated}"
    if disk.bus in (Bus.IDE, Bus.SATA):
        if stated not in (0, _SECTOR):
            yield f"{what}: {disk.bus} disks have 512 only in QEMU; leave it out, or use virtio or scsi"
    elif stated == 0 and disk.bus is Bus.VIRTIO:
        # virtio-blk announces the block size instead of 0 (QEMU hw/block/virtio-blk.c); others then offer none.
        yield f"{what} does not stop a virtio guest from discarding; write discard: ignore"
    elif stated % _SECTOR or stated & (stated - 1):
        yield f"{what} is not a power of two from 512 on; write one like 64K"
    elif stated > object_bytes:
        size = format_size(object_bytes)
        yield f"{what} is larger than an object of the image ({size}), the unit of freed space; write {size} or less"
    elif stated != device_default(disk.bus, era) and not states_granularity(disk.bus, era):
        since = "6.0 with a machine of 6.0" if disk.bus is Bus.VIRTIO else "9.0"
        yield f"{what}: {disk.bus} announces it from QEMU {since} on, this is {era}; leave it out, or use scsi"
