"""The rules for disks that apply to every version of libvirt and QEMU, each with its reason."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain

from msgspec import Struct

from virtrbd.model.attributes import DISK, Attribute
from virtrbd.model.disk import Bus, Cache, Cdrom, Disk
from virtrbd.specs.disk_schema import TARGET_PREFIX
from virtrbd.specs.document import Path

Problem = tuple[Path, str]

_MAX_IDE_DISKS = 4
# The part of a serial that QEMU passes to the guest: it cuts off the rest silently (libvirt's formatdomain, "serial").
_MAX_SERIAL = {Bus.VIRTIO: 20, Bus.IDE: 20, Bus.SATA: 20, Bus.SCSI: 36, Bus.USB: 36}
_RPM = range(1025, 65535)
# libvirt's storagecommon.rng, genericName
_SNAPSHOT = re.compile(r"[A-Za-z0-9_+-]+")


class _DiskRule(Struct, frozen=True, kw_only=True):
    """A field, when it is wrong, and the message."""

    field: str
    is_broken: Callable[[Disk], object]
    message: Callable[[Disk], str]


_RULES = (
    _DiskRule(
        field="target",
        is_broken=lambda disk: disk.target[:2] != TARGET_PREFIX[disk.bus],
        message=lambda disk: f"target {disk.target} does not fit bus {disk.bus}; write {TARGET_PREFIX[disk.bus]}a",
    ),
    _DiskRule(
        field="image",
        is_broken=lambda disk: disk.image.snapshot and not disk.readonly,
        message=lambda disk: f"{disk.image} is a snapshot; write readonly: true beside it",
    ),
    _DiskRule(
        field="image",
        is_broken=lambda disk: disk.image.snapshot and not _SNAPSHOT.fullmatch(disk.image.snapshot),
        message=lambda disk: (
            f"libvirt's schema takes letters, digits, _, + and - in a snapshot's name, not "
            f"{disk.image.snapshot}; clone it instead"
        ),
    ),
    _DiskRule(
        field="rotation_rate",
        is_broken=lambda disk: disk.rotation_rate not in (None, 1) and disk.rotation_rate not in _RPM,
        message=lambda _disk: "rotation_rate is 1 for an SSD or 1025 to 65534 rpm (ATA)",
    ),
    _DiskRule(
        field="serial",
        is_broken=lambda disk: len(disk.serial) > _MAX_SERIAL[disk.bus],
        message=lambda disk: f"{len(disk.serial)} characters; the guest sees {_MAX_SERIAL[disk.bus]} on {disk.bus}",
    ),
    _DiskRule(
        field="discard_granularity",
        is_broken=lambda disk: disk.discard_granularity_bytes and disk.discard_granularity_bytes % 512,
        message=lambda _disk: "not a multiple of 512, the logical block size; write one like 64K",
    ),
    _DiskRule(
        field="discard_granularity",
        is_broken=lambda disk: disk.bus in (Bus.IDE, Bus.SATA) and disk.discard_granularity_bytes not in (None, 0, 512),
        message=lambda disk: (
            f"{disk.bus} disks have 512 only in QEMU (hw/ide/ide-dev.c); leave it out, or use virtio or scsi"
        ),
    ),
    _DiskRule(
        field="io",
        is_broken=lambda disk: disk.io == "native" and disk.cache not in (Cache.NONE, Cache.DIRECTSYNC),
        message=lambda disk: (
            f"libvirt takes io: native with cache none or directsync only, not with {disk.cache}; leave it out, for it "
            f"has no effect on RBD"
        ),
    ),
    # qemuValidateDomainDeviceDefDiskIOThreads.
    _DiskRule(
        field="iothreads",
        is_broken=lambda disk: (
            any(disk.iothreads.values()) and sorted(chain(*disk.iothreads.values())) != [*range(disk.queues or 0)]
        ),
        message=lambda disk: (
            f"each of the disk's {disk.queues or 0} queues needs one thread; write queues: N, and each of 0 to N-1 once"
        ),
    ),
    _DiskRule(
        field="iothreads",
        is_broken=lambda disk: any(disk.iothreads.values()) and not all(disk.iothreads.values()),
        message=lambda _disk: "a thread without a queue; give each of them one, or write a list of threads alone",
    ),
    _DiskRule(
        field="shareable",
        is_broken=lambda disk: disk.shareable and disk.cache is not Cache.NONE,
        message=lambda disk: (
            f"shareable with cache {disk.cache}: librbd's cache belongs to one client, other guests would read "
            f"stale blocks; write cache: none"
        ),
    ),
    _DiskRule(
        field="shareable",
        is_broken=lambda disk: disk.shareable and disk.readonly,
        message=lambda _disk: "shareable and readonly contradict each other; keep one",
    ),
)


def disk_problems(disks: Sequence[Disk]) -> Iterator[Problem]:
    """Yield the problems with disks in the order of the spec."""
    for index, disk in enumerate(disks):
        for rule in _RULES:
            if rule.is_broken(disk):
                yield ("disks", index, rule.field), rule.message(disk)
        for row in DISK:
            if disk.bus not in row.buses and row.stated(disk) is not None:
                yield ("disks", index, row.spec_word), _not_of_the_bus(disk.bus, row)


def _not_of_the_bus(bus: Bus, row: Attribute) -> str:
    *most, last = (each for each in Bus if each in row.buses)
    buses = f"{', '.join(most)} and {last}" if most else last
    return f"only {buses} disks have {row.spec_word}, not {bus}; {row.instead}"


def group_problems(disks: Sequence[Disk]) -> Iterator[Problem]:
    """Yield the disks of an iotune group that state other limits than the group's first disk: libvirt refuses them."""
    limits_by_group: dict[object, Mapping[str, int | str]] = {}
    for index, disk in enumerate(disks):
        group = disk.iotune.get("group_name")
        if group and limits_by_group.setdefault(group, disk.iotune) != disk.iotune:
            yield (
                ("disks", index, "iotune"),
                f"group {group} has other limits in an earlier disk; write the same in all its disks",
            )


def drive_problems(disks: Sequence[Disk], cdroms: Sequence[Cdrom], seed: Cdrom | None) -> Iterator[Problem]:
    """Yield what two disks or drives use: targets, boot orders, and places on the IDE controller."""
    drives: list[tuple[Path, Disk | Cdrom]] = [(("disks", n), disk) for n, disk in enumerate(disks)]
    drives += [(("cdroms", n), cdrom) for n, cdrom in enumerate(cdroms)]
    drives += [(("cloud_init",), seed)] if seed else []
    for index, (path, drive) in enumerate(drives):
        earlier = [other for _, other in drives[:index]]
        if isinstance(drive, Cdrom) and drive.target[:2] != TARGET_PREFIX[drive.bus]:
            prefix = TARGET_PREFIX[drive.bus]
            yield (*path, "target"), f"target {drive.target} does not fit bus {drive.bus}; write {prefix}a"
        if drive.target in {other.target for other in earlier}:
            yield (*path, "target"), f"{drive.target} is taken by another disk; give each its own"
        if drive.boot is not None and drive.boot in {other.boot for other in earlier}:
            yield (*path, "boot"), f"boot {drive.boot} is taken by another disk; give each its own"
    if sum(drive.bus is Bus.IDE for _, drive in drives) > _MAX_IDE_DISKS:
        message = "five or more ide disks; the only IDE controller has 4 places: use sata, scsi or virtio"
        yield ("disks",), message
