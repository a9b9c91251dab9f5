"""The host's own devices that a spec gives to the guest."""

from collections.abc import Iterator, Sequence

from virtrbd.model.domain import HostDevice
from virtrbd.specs.disk_rules import Problem
from virtrbd.specs.host_schema import HostDeviceSpec


def resolve_host_device(spec: HostDeviceSpec) -> HostDevice:
    kind = "pci" if spec.pci else "usb" if spec.usb else "mdev"
    managed = kind != "mdev" and spec.managed is not False
    return HostDevice(kind=kind, address=spec.pci or spec.usb or spec.mdev or "", managed=managed)


def host_device_problems(devices: Sequence[HostDevice]) -> Iterator[Problem]:
    """Yield each device that is named twice."""
    seen: set[str] = set()
    for index, device in enumerate(devices):
        if device.address in seen:
            yield ("hostdevs", index, device.kind), f"{device.address} is named twice; name it once"
        seen.add(device.address)
