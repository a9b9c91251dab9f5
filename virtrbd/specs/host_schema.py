"""The schema of what a spec gives to the guest of the host itself: devices and folders."""

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, StrictBool, model_validator

from virtrbd.printable import quoted
from virtrbd.specs.checked import AbsolutePath, Strict

_PCI = re.compile("(?:([0-9a-f]{4}):)?([0-9a-f]{2}:[01][0-9a-f][.][0-7])")
_USB = re.compile("[0-9a-f]{4}:[0-9a-f]{4}")
_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _pci(address: str) -> str:
    match = _PCI.fullmatch(address.lower())
    if match is None:
        raise ValueError(f"{quoted(address)} is not the address of a PCI device; write it like 0000:06:00.0 (lspci -D)")
    return f"{match[1] or '0000'}:{match[2]}"


def _usb(numbers: str) -> str:
    if not _USB.fullmatch(numbers.lower()):
        raise ValueError(
            f"{quoted(numbers)} is not vendor and product of a USB device; write it like 1050:0407 (lsusb)"
        )
    return numbers.lower()


def _mdev(uuid: str) -> str:
    if not _UUID.fullmatch(uuid.lower()):
        raise ValueError(f"{quoted(uuid)} is not the UUID of a mediated device; see virsh nodedev-list --cap mdev")
    return uuid.lower()


class HostDeviceSpec(Strict):
    """A device of the host that the guest gets for itself."""

    pci: Annotated[
        Annotated[str, AfterValidator(_pci)] | None,
        Field(description="In quotes, like 0000:06:00.0."),
    ] = None
    usb: Annotated[
        Annotated[str, AfterValidator(_usb)] | None,
        Field(description="Vendor and product, like 1050:0407."),
    ] = None
    mdev: Annotated[
        Annotated[str, AfterValidator(_mdev)] | None,
        Field(description="The mediated device's UUID."),
    ] = None
    managed: Annotated[
        StrictBool | None, Field(description="libvirt takes it from its driver and gives it back; true unless stated.")
    ] = None

    @model_validator(mode="after")
    def _is_one_device(self) -> Self:
        named = [word for word in ("pci", "usb", "mdev") if getattr(self, word) is not None]
        if len(named) != 1:
            raise ValueError(f"names {' and '.join(named) or 'no device'}; write exactly one of pci, usb and mdev")
        if self.mdev and self.managed is not None:
            raise ValueError("a mediated device has no driver of the host's; leave managed out")
        return self


class FilesystemSpec(Strict):
    """A folder of the host that the guest mounts by virtiofs."""

    source: Annotated[AbsolutePath, Field(description="The folder of the host.")]
    target: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=36, description="The tag in the guest."),
    ]
