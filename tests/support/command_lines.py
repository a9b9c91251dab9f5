"""QEMU command lines for tests, and what is on them."""

import json
from typing import Any

import pytest

from virtrbd.errors import SpecError
from virtrbd.model.capabilities import Capabilities, parse_version
from virtrbd.model.cluster import ClusterFacts
from virtrbd.model.disk import Bus, Disk
from virtrbd.model.domain import Domain
from virtrbd.model.image import ImageRef
from virtrbd.model.record import replace
from virtrbd.qemu.command import QemuCommand, qemu_command

ADMIN = ClusterFacts(fsid="f51d", monitors=(), user="admin")
OURS = replace(ADMIN, user="virtrbd")
SQUEEZE = ImageRef(pool="data", name="squeeze")
TARGETS = {Bus.IDE: "hda", Bus.SATA: "sda", Bus.SCSI: "sda", Bus.VIRTIO: "vda", Bus.USB: "sda"}


def disk(bus: Bus = Bus.VIRTIO, **stated: Any) -> Disk:
    return Disk(**{"target": TARGETS[bus], "bus": bus, "image": SQUEEZE, **stated})


def domain(*disks: Disk, **stated: Any) -> Domain:
    return Domain(**{
        "name": "web-01", "uuid": "u", "memory_bytes": 2 * 1024**3, "vcpus": 2, "machine": "pc", "hypervisor": "kvm",
        "host": "kvm-1", "disks": disks, "origin": "web.yaml:1", **stated,
    })  # fmt: skip


def command(
    subject: Domain | Disk, qemu: str, machine: str = "pc", cluster: ClusterFacts = ADMIN, conf: str = ""
) -> QemuCommand:
    whole = subject if isinstance(subject, Domain) else domain(subject)
    capabilities = Capabilities(libvirt=(9, 0, 0), qemu=parse_version(qemu), machine=machine)
    return qemu_command(whole, cluster, capabilities, **({"conf": conf} if conf else {}))


def values(found: QemuCommand, option: str) -> list[str]:
    return [value for name, value in found.options if name == option]


def drive(*args: Any, **kwargs: Any) -> str:
    [value] = values(command(*args, **kwargs), "-drive")
    return value


def node(*args: Any, **kwargs: Any) -> dict[str, object]:
    [value] = values(command(*args, **kwargs), "-blockdev")
    document: dict[str, object] = json.loads(value)
    return document


def device(*args: Any, **kwargs: Any) -> dict[str, str]:
    """The last device's properties; its model is `driver`."""
    text = values(command(*args, **kwargs), "-device")[-1]
    return dict(pair.split("=", 1) for pair in f"driver={text}".split(","))


def refusal(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(SpecError) as caught:
        command(*args, **kwargs)
    return str(caught.value)
