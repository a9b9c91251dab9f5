"""Actions in a running guest."""

from typing import ClassVar

from virtrbd.model.base_action import BaseAction
from virtrbd.model.element_path import ElementPath
from virtrbd.model.image import ImageRef
from virtrbd.model.size import format_size


class LiveAction(BaseAction, frozen=True, kw_only=True):
    """A change in a running guest; a blocked change holds back nothing else of its domain."""

    domain_uuid: str
    separable: ClassVar[bool] = True


class AttachDevice(LiveAction, frozen=True, kw_only=True):
    """Attach a device of the definition to the running guest. `device` is its step: `disk:vdb`.

    `image`: the image that the guest will write to, opened through the start gate.
    """

    device: str
    image: ImageRef | None = None

    @property
    def text(self) -> str:
        return f"attach {device_words(self.device)}" + (f" (image {self.image})" if self.image else "")


class DetachDevice(LiveAction, frozen=True, kw_only=True):
    """Detach what the definition no longer has. Blocked, it holds back the whole domain: a typo must not unplug a disk.

    `place`: where it was in the guest when that was observed (own_devices): others may have the same key.
    """

    device: str
    place: str = ""
    image: ImageRef | None = None
    separable: ClassVar[bool] = False

    @property
    def text(self) -> str:
        return f"detach {device_words(self.device)}" + (f" (image {self.image}, which is kept)" if self.image else "")


class ChangeMedia(LiveAction, frozen=True, kw_only=True):
    """Put another medium, or none, into a CD-ROM drive. `medium`: the image or file, for messages, empty for none."""

    device: str
    medium: str

    @property
    def text(self) -> str:
        target = self.device.partition(":")[2]
        return f"insert {self.medium} into {target}" if self.medium else f"eject {target}"


class LimitDisk(LiveAction, frozen=True, kw_only=True):
    """Set I/O limits, in libvirt's words; 0 is none."""

    target: str
    limits: tuple[tuple[str, int | str], ...]

    @property
    def text(self) -> str:
        return f"limit disk {self.target} ({', '.join(f'{name} {value}' for name, value in self.limits)})"


class SetLink(LiveAction, frozen=True, kw_only=True):
    """Set the link of an interface at its place."""

    device: str
    place: str = ""
    up: bool
    is_stated: bool = True

    @property
    def text(self) -> str:
        return f"set link of {device_words(self.device)} {'up' if self.up else 'down'}"


class SetMemory(LiveAction, frozen=True, kw_only=True):
    from_bytes: int
    to_bytes: int

    @property
    def text(self) -> str:
        return f"set the guest's memory from {format_size(self.from_bytes)} to {format_size(self.to_bytes)}"


class SetVcpus(LiveAction, frozen=True, kw_only=True):
    from_count: int
    to_count: int
    wording: ClassVar[str] = "set the guest's vcpus from {from_count} to {to_count}"


class SetTitle(LiveAction, frozen=True, kw_only=True):
    title: str
    description: str
    wording: ClassVar[str] = "set title and description of the running domain"


class MarkLive(LiveAction, frozen=True, kw_only=True):
    """Record in the live XML what of the running guest is virtrbd's; `places`: where its devices were seen, by step."""

    stated: tuple[ElementPath, ...]
    places: tuple[tuple[str, str], ...] = ()
    quiet: ClassVar[bool] = True
    wording: ClassVar[str] = "mark the running domain"


AnyLive = AttachDevice | DetachDevice | ChangeMedia | LimitDisk | SetLink | SetMemory | SetVcpus | SetTitle | MarkLive


def device_words(device: str) -> str:
    """Return `disk vdb` for `disk:vdb`."""
    return device.replace(":", " ", 1)
