"""What a spec gives to the guest of the host itself: devices and folders."""

from collections.abc import Iterator

from virtrbd.model.devices import Filesystem, HostDevice
from virtrbd.model.domain import Domain
from virtrbd.specs.disk_rules import Problem
from virtrbd.specs.host_schema import FilesystemSpec, HostDeviceSpec


def resolve_host_device(spec: HostDeviceSpec) -> HostDevice:
    kind = "pci" if spec.pci else "usb" if spec.usb else "mdev"
    managed = kind != "mdev" and spec.managed is not False
    return HostDevice(kind=kind, address=spec.pci or spec.usb or spec.mdev or "", managed=managed)


def resolve_filesystem(spec: FilesystemSpec) -> Filesystem:
    return Filesystem(source=spec.source, target=spec.target)


def host_problems(domain: Domain) -> Iterator[Problem]:
    """Yield each device and tag that is named twice, and memory that virtiofs cannot share."""
    seen: set[str] = set()
    for index, device in enumerate(domain.hostdevs):
        if device.address in seen:
            yield ("hostdevs", index, device.kind), f"{device.address} is named twice; name it once"
        seen.add(device.address)
    tags: set[str] = set()
    for index, filesystem in enumerate(domain.filesystems):
        if filesystem.target in tags:
            yield ("filesystems", index, "target"), f"{filesystem.target} is taken by another folder; give each its own"
        tags.add(filesystem.target)
    for index, cell in enumerate(domain.cpu.numa if domain.cpu and domain.filesystems else ()):
        if cell.mem_access == "private":
            yield ("cpu", "numa", index, "mem_access"), "filesystems need shared memory; leave it out, or write shared"
