"""How a domain uses RBD images: what its XML names, in all the ways in which it can name one."""

from dataclasses import dataclass
from enum import StrEnum
from html import unescape

from virtrbd.model.image import ImageRef


class Role(StrEnum):
    """What an image is to the domain. Only a disk can be grown under it; what lies below an overlay must not change."""

    DISK = "disk"
    BASE = "backing file"
    COPY = "target of a block copy"
    STATE = "state"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ImageUse:
    """An image that a domain names. `place` says where, as a message reads it: `disk vda`, `NVRAM`."""

    ref: ImageRef
    role: Role
    place: str

    def __str__(self) -> str:
        role = f"{self.role} of " if self.role in (Role.BASE, Role.COPY) else ""
        return f"{role}{self.place}"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class NamedVolume:
    """A volume of a libvirt storage pool. Which image that is, if it is one, only libvirt knows."""

    pool: str
    volume: str
    place: str


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class NamedDevice:
    """A block device of this host. Whether an image is behind it (the kernel's rbd driver), only this host knows."""

    path: str
    role: Role
    place: str


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Unread:
    """What may name an image and cannot be read. `text`: what it says, where that is known; else it may name any."""

    what: str
    text: str | None = None

    def may_name(self, ref: ImageRef) -> bool:
        """Whether it may name the image."""
        return self.text is None or ref.name in self.text or ref.name in unescape(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedImages:
    """What a domain's XML names. `unread` counts as use (law 14)."""

    images: tuple[ImageUse, ...] = ()
    volumes: tuple[NamedVolume, ...] = ()
    devices: tuple[NamedDevice, ...] = ()
    unread: tuple[Unread, ...] = ()
