"""What a version of QEMU can do with RBD disks: one name for each change in its history."""

from typing import Self

from msgspec import Struct

from virtrbd.model.capabilities import Capabilities, Version, version_text

OLDEST: Version = (1, 0, 0)  # rbd: file names know backslashes from 1.0 on ("rbd: allow escaping in config string")
Q35: Version = (1, 4, 0)


class Era(Struct, frozen=True, kw_only=True):
    """A QEMU and the machine that it runs; `machine_version` is QEMU's own where the name has none."""

    qemu: Version
    machine: str
    machine_version: Version

    @classmethod
    def of(cls, capabilities: Capabilities) -> Self:
        """Return the era; a machine that this QEMU does not have yet becomes the nearest machine that it has."""
        qemu, machine = capabilities.qemu, capabilities.machine or "pc"
        version = capabilities.machine_version
        if version is not None and version > qemu:
            machine, version = ("q35" if "q35" in machine else "pc"), None
        if "q35" in machine and qemu < Q35:
            machine, version = "pc", None
        return cls(qemu=qemu, machine=machine, machine_version=qemu if version is None else version)

    def __str__(self) -> str:
        return f"QEMU {version_text(self.qemu)}, machine {self.machine}"

    @property
    def is_q35(self) -> bool:
        return "q35" in self.machine

    def both(self, version: Version) -> bool:
        """Whether QEMU and the machine are that new: an older machine's compat properties switch features off."""
        return self.qemu >= version and self.machine_version >= version

    @property
    def has_blockdev(self) -> bool:
        """-blockdev is complete from 4.2 on, where libvirt begins to use it too."""
        return self.qemu >= (4, 2, 0)

    @property
    def has_namespaces(self) -> bool:
        """block/rbd.c has namespaces from 5.0 (19ae9ae014)."""
        return self.qemu >= (5, 0, 0)

    @property
    def cache_drives_librbd(self) -> bool:
        """cache= sets rbd_cache from 1.2 on (b11f38fcdf)."""
        return self.qemu >= (1, 2, 0)

    @property
    def cache_beats_ceph_conf(self) -> bool:
        """rbd_cache is set after ceph.conf was read from 2.4 on (99a3c89d5d)."""
        return self.qemu >= (2, 4, 0)

    @property
    def discards(self) -> bool:
        """block/rbd.c discards from 1.1 on (787f31330e)."""
        return self.qemu >= (1, 1, 0)

    @property
    def has_discard_option(self) -> bool:
        """discard= came in 1.5 (9e8f1835ea); before it every request was passed on."""
        return self.qemu >= (1, 5, 0)

    @property
    def offers_discard_by_default(self) -> bool:
        """Guests see TRIM and UNMAP unasked from 1.5 on (215e47b9ea); machines up to 1.4 keep it off."""
        return self.both((1, 5, 0))

    @property
    def virtio_discards(self) -> bool:
        """virtio-blk has DISCARD from 4.0 (37b06f8d46); hw_compat_3_1 switches it off."""
        return self.both((4, 0, 0))

    @property
    def virtio_states_granularity(self) -> bool:
        """virtio-blk announces the granularity from 6.0 (fb0b154c80); hw_compat_5_2 switches it off."""
        return self.both((6, 0, 0))

    @property
    def usb_has_block_properties(self) -> bool:
        """usb-storage passes on write-cache and discard_granularity from 9.0 (3089637461); before, it drops them."""
        return self.qemu >= (9, 0, 0)

    @property
    def has_write_cache(self) -> bool:
        """Devices have write-cache from 2.7 (f6166a06ff)."""
        return self.qemu >= (2, 7, 0)
