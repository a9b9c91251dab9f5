"""What a disk's cache mode means to QEMU and librbd."""

from collections.abc import Mapping

from msgspec import Struct

from virtrbd.model.disk import Cache


class CacheFacts(Struct, frozen=True, kw_only=True):
    """A cache mode in QEMU's own words: the node's cache.direct and cache.no-flush, the device's write-cache."""

    direct: bool
    no_flush: bool
    write_cache: bool

    @property
    def rbd_cache(self) -> bool:
        """Whether librbd's cache is on: block/rbd.c sets rbd_cache to the opposite of BDRV_O_NOCACHE."""
        return not self.direct


# libvirt's qemuDomainDiskCachemodeFlags and docs/formatdomain.rst; `default` is QEMU's own default.
CACHE_FACTS: Mapping[Cache, CacheFacts] = {
    Cache.NONE: CacheFacts(direct=True, no_flush=False, write_cache=True),
    Cache.WRITETHROUGH: CacheFacts(direct=False, no_flush=False, write_cache=False),
    Cache.WRITEBACK: CacheFacts(direct=False, no_flush=False, write_cache=True),
    Cache.DIRECTSYNC: CacheFacts(direct=True, no_flush=False, write_cache=False),
    Cache.UNSAFE: CacheFacts(direct=False, no_flush=True, write_cache=True),
    Cache.DEFAULT: CacheFacts(direct=False, no_flush=False, write_cache=True),
}
