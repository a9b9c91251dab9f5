"""The uses of RBD images by a domain: every way in which its XML can name an image."""

from enum import StrEnum

from msgspec import Struct

from virtrbd.lazily import lazily
from virtrbd.model.image import ImageRef
from virtrbd.model.power import PowerState

# Few texts have an entity.
with lazily():
    from html import unescape


class Role(StrEnum):
    """The role of an image in a domain. Only a disk can be grown under it; an image below an overlay must not change.

    Others may write to a shared disk as well: a CD-ROM, a read-only or a shareable disk.
    """

    DISK = "disk"
    SHARED_DISK = "shared disk"
    BASE = "backing file"
    COPY = "target of a block copy"
    STATE = "state"
    OTHER = "other"


class ImageUse(Struct, frozen=True, kw_only=True, order=True):
    """An image that a domain names. `place` says where, for messages: `disk vda`, `NVRAM`.

    `kept_in` is empty where the definition or the guest names it, else the only document that does: the managed save.
    """

    ref: ImageRef
    role: Role
    place: str
    kept_in: str = ""

    def __str__(self) -> str:
        role = f"{self.role} of " if self.role in (Role.BASE, Role.COPY) else ""
        return f"{role}{self.place}" + (f" of {self.kept_in}" if self.kept_in else "")


class NamedVolume(Struct, frozen=True, kw_only=True, order=True):
    """A volume of a libvirt storage pool. Only libvirt knows whether it is an image, and which."""

    pool: str
    volume: str
    role: Role
    place: str


class NamedDevice(Struct, frozen=True, kw_only=True, order=True):
    """A block device of this host. Only this host knows whether an image is behind it (the kernel's rbd driver)."""

    path: str
    role: Role
    place: str


class Unread(Struct, frozen=True, kw_only=True, order=True):
    """What may name an image and cannot be read. `text`: its text, where known; else it may name any image."""

    what: str
    text: str | None = None

    def may_name(self, ref: ImageRef) -> bool:
        """Whether it may name the image."""
        return self.text is None or ref.name in self.text or ref.name in unescape(self.text)


class NamedImages(Struct, frozen=True, kw_only=True):
    """What a domain's XML names. `unread` counts as use (law 14)."""

    images: tuple[ImageUse, ...] = ()
    volumes: tuple[NamedVolume, ...] = ()
    devices: tuple[NamedDevice, ...] = ()
    unread: tuple[Unread, ...] = ()


class DomainUse(Struct, frozen=True, kw_only=True):
    """A domain of this host with every image that libvirt's documents of it name.

    `unread`: what may name an image and cannot be read. Law 14: it counts as use.
    """

    name: str
    uuid: str
    state: PowerState
    images: tuple[ImageUse, ...] = ()
    unread: tuple[Unread, ...] = ()

    @property
    def refs(self) -> frozenset[ImageRef]:
        """The images and snapshots that it names."""
        return frozenset(use.ref for use in self.images)

    def of(self, ref: ImageRef) -> tuple[ImageUse, ...]:
        """Return how it uses the image or a snapshot of it; for a snapshot, how it uses that snapshot."""
        if ref.snapshot:
            return tuple(use for use in self.images if use.ref == ref)
        return tuple(use for use in self.images if use.ref.image == ref)

    def uses(self, ref: ImageRef) -> bool:
        """Whether it names the image, or a snapshot of it."""
        return bool(self.of(ref.image))

    def may_use(self, ref: ImageRef) -> bool:
        """Whether a part of it that cannot be read names the image, as far as there is a text."""
        return any(each.text is not None and each.may_name(ref) for each in self.unread)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Its parts that cannot be read and may name any image."""
        return tuple(each.what for each in self.unread if each.text is None)

    def writes(self, ref: ImageRef) -> bool:
        """Whether its QEMU has the image itself open read-write while it runs, as far as its XML shows."""
        return any(not use.ref.snapshot and use.role is not Role.BASE for use in self.of(ref.image))

    def disk_of(self, ref: ImageRef) -> ImageUse | None:
        """Return the disk that has the image, None where it has another role, or the disk is a snapshot of it."""
        disks = (use for use in self.of(ref.image) if use.role in (Role.DISK, Role.SHARED_DISK))
        return next((use for use in disks if not use.ref.snapshot), None)

    def excluding(self, ref: ImageRef) -> tuple[ImageUse, ...]:
        """Return the uses of the image during which no other may write to it; a snapshot never changes."""
        return tuple(use for use in self.of(ref.image) if use.role is not Role.SHARED_DISK and not use.ref.snapshot)
