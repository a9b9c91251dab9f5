"""Explanations of what librbd will do with a disk, by the tables of QEMU's block/rbd.c and libvirt's cache modes."""

from collections.abc import Iterator

from virtrbd.model.cache import CACHE_FACTS
from virtrbd.model.capabilities import Capabilities, version_text
from virtrbd.model.disk import Bus, Cache, Disk
from virtrbd.qemu.era import Era


def explain_cache(disk: Disk, capabilities: Capabilities) -> str:
    """Return how librbd's cache works on this QEMU, who flushes it, and what may change that."""
    era = Era.of(capabilities)
    parts = (*_cache(disk, era), *_flushes(disk, capabilities), *_overrides(era))
    return f"cache {disk.cache} on QEMU {version_text(era.qemu)}: {'; '.join(parts)}"


def _cache(disk: Disk, era: Era) -> Iterator[str]:
    facts = CACHE_FACTS[disk.cache]
    if not era.cache_drives_librbd:
        yield "it has no effect on librbd, whose rbd_cache comes only from ceph.conf (off by default before Ceph 0.87)"
    elif not facts.rbd_cache:
        yield "librbd's cache is off, each write goes to the OSDs at once"
    elif disk.cache is Cache.WRITETHROUGH and era.qemu < (1, 3, 0):
        yield "librbd's cache is on with rbd_cache_max_dirty = 0: it keeps no unwritten data"
    else:
        yield (
            "librbd's cache is on, as write-around (writes are gathered, reads are not kept) from Ceph 15 on, as "
            "write-back before; rbd_cache_policy = writeback in ceph.conf brings the read cache back"
        )


def _flushes(disk: Disk, capabilities: Capabilities) -> Iterator[str]:
    facts = CACHE_FACTS[disk.cache]
    if facts.no_flush:
        yield "no flush reaches librbd: QEMU drops the guest's flushes, and a power cut loses what is not written yet"
        yield "librbd sees no flush, so it stays write-through while rbd_cache_writethrough_until_flush is true"
    elif facts.write_cache or drops_write_cache(disk, capabilities):
        yield "the guest flushes, and QEMU passes that on"
        if facts.rbd_cache:
            yield "until the first flush librbd writes through (rbd_cache_writethrough_until_flush)"
        if not facts.write_cache:
            yield "usb-storage has no write-cache before QEMU 9.0, so QEMU does not flush after each write"
    else:
        yield "QEMU flushes after each write, the guest sees no write cache"


def drops_write_cache(disk: Disk, capabilities: Capabilities) -> bool:
    """Whether the device lacks its half of the mode: with -blockdev (libvirt 5.10) the device has it."""
    era = Era.of(capabilities)
    uses_nodes = capabilities.libvirt >= (5, 10, 0) and era.has_blockdev
    is_lost = disk.bus is Bus.USB and uses_nodes and not era.usb_has_block_properties
    return is_lost and not CACHE_FACTS[disk.cache].write_cache


def _overrides(era: Era) -> Iterator[str]:
    if era.cache_beats_ceph_conf:
        yield "ceph.conf's rbd_cache does not count, conf_rbd_cache of image or pool overrides both"
    elif era.cache_drives_librbd:
        yield "an rbd_cache in ceph.conf overrides it before QEMU 2.4"
