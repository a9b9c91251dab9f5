"""Eras of libvirt and QEMU, and what is fitted to them."""

from typing import Any

from virtrbd.compat.adapt import Fit
from virtrbd.compat.assumed import capabilities_by_hand
from virtrbd.model.capabilities import Capabilities
from virtrbd.model.disk import Bus, Disk
from virtrbd.model.domain import Domain
from virtrbd.model.image import ImageRef

REF = ImageRef(pool="vms", name="web.vda")
TARGETS = {Bus.VIRTIO: "vda", Bus.SCSI: "sda", Bus.SATA: "sda", Bus.IDE: "hda", Bus.USB: "sda"}
KIB = 1024

ERAS = {
    "7.0": "libvirt=7.0,qemu=5.2",
    "7.10": "libvirt=7.10,qemu=6.2",
    "8.0": "libvirt=8.0,qemu=6.2",
    "8.2": "libvirt=8.2,qemu=6.2",
    "8.4": "libvirt=8.4,qemu=7.0",
    "8.5": "libvirt=8.5,qemu=7.0",
    "9.0": "libvirt=9.0,qemu=7.2",
    "9.6": "libvirt=9.6,qemu=8.1",
    "9.7": "libvirt=9.7,qemu=8.1",
    "10.0": "libvirt=10.0,qemu=8.2",
    "11.3": "libvirt=11.3,qemu=10.0",
    "11.6": "libvirt=11.6,qemu=10.0",
    "12.8": "libvirt=12.8,qemu=11.1",
}


def era(name: str, machine: str = "pc") -> Capabilities:
    return capabilities_by_hand(f"{ERAS.get(name, name)},machine={machine}", "pc")


def disk(bus: Bus = Bus.VIRTIO, **stated: Any) -> Disk:
    return Disk(**{"target": TARGETS[bus], "bus": bus, "image": REF, "line": 7, **stated})


def granular(bus: Bus, size_bytes: int | None, **stated: Any) -> Disk:
    return disk(bus, discard_granularity_bytes=size_bytes, **stated)


def domain(*disks: Disk, **stated: Any) -> Domain:
    return Domain(**{
        "name": "web", "uuid": "u", "memory_bytes": 2**30, "vcpus": 1, "machine": "pc", "hypervisor": "kvm",
        "host": "kvm-1", "disks": disks or (disk(),), "origin": "web.yaml:1", **stated,
    })  # fmt: skip


def ways(found: Fit) -> dict[str, dict[str, int]]:
    named = {"blockio": found.fitted.blockio, "override": found.fitted.override, "set": found.fitted.set_device}
    return {way: dict(stated) for way, stated in named.items() if stated}


def codes(found: Fit) -> list[str]:
    return [lint.code for lint in found.lints]
