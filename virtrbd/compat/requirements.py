"""The features of a spec that need a newer libvirt or QEMU: the rows of model/attributes, and some values.

The versions are those of libvirt's docs/formatdomain.rst ("Since"), and of QEMU's history.
"""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from msgspec import Struct

from virtrbd.model import attributes
from virtrbd.model.attributes import ANY, Attribute
from virtrbd.model.capabilities import Capabilities, Version, version_text
from virtrbd.model.devices import Interface
from virtrbd.model.disk import Bus, Discard, Disk
from virtrbd.model.domain import Domain

S = TypeVar("S", contravariant=True)


class Requirement(Struct, Generic[S], frozen=True, kw_only=True):
    """A feature, when a spec uses it, and since which version it exists."""

    feature: str
    is_asked: Callable[[S], object]
    libvirt: Version = ANY
    qemu: Version = ANY
    way_out: str = "leave it out"

    def problem(self, subject: S, capabilities: Capabilities) -> str:
        """Return why the subject can't have it, empty where it can, or does not use it."""
        if not self.is_asked(subject):
            return ""
        missing = [
            f"{name} {version_text(needed)} (this is {version_text(found)})"
            for name, needed, found in (
                ("libvirt", self.libvirt, capabilities.libvirt),
                ("QEMU", self.qemu, capabilities.qemu),
            )
            if found < needed
        ]
        return f"{self.feature} needs {' and '.join(missing)}; {self.way_out}" if missing else ""


def _any_tuned(tail: str) -> Callable[[Disk], object]:
    return lambda disk: any(name.endswith(tail) for name in disk.iotune)


def _of_attributes(rows: tuple[Attribute, ...], within: str = "") -> Iterator[Requirement[object]]:
    for row in rows:
        if (row.libvirt, row.qemu) != (ANY, ANY):
            yield Requirement(feature=within + row.spec_word, is_asked=row.is_asked, libvirt=row.libvirt, qemu=row.qemu)


DISK: tuple[Requirement[Disk], ...] = (
    *_of_attributes(attributes.DISK),
    Requirement(
        feature="a snapshot as image",
        is_asked=lambda disk: disk.image.snapshot,
        libvirt=(1, 2, 11),
        way_out="clone it instead",
    ),
    Requirement(
        feature="discard: unmap",
        is_asked=lambda disk: disk.discard is Discard.UNMAP,
        libvirt=(1, 0, 6),
        qemu=(1, 5, 0),
        way_out="write discard: ignore",
    ),
    Requirement(feature="iotune's _max", is_asked=_any_tuned("_max"), libvirt=(1, 2, 11), qemu=(1, 7, 0)),
    Requirement(
        feature="iotune.size_iops_sec", is_asked=_any_tuned("size_iops_sec"), libvirt=(1, 2, 11), qemu=(1, 7, 0)
    ),
    Requirement(feature="iotune's _max_length", is_asked=_any_tuned("_max_length"), libvirt=(2, 4, 0), qemu=(2, 6, 0)),
    Requirement(feature="iotune.group_name", is_asked=_any_tuned("group_name"), libvirt=(3, 0, 0), qemu=(2, 4, 0)),
    Requirement(
        feature="bus scsi (virtio-scsi)",
        is_asked=lambda disk: disk.bus is Bus.SCSI,
        libvirt=(0, 9, 13),
        qemu=(1, 1, 0),
        way_out="use virtio",
    ),
)

DOMAIN: tuple[Requirement[Domain], ...] = (
    # <auth> within <source>; before, it was beside it.
    Requirement(
        feature="cephx as virtrbd writes it",
        is_asked=lambda _domain: True,
        libvirt=(3, 9, 0),
        way_out="upgrade libvirt",
    ),
    Requirement(
        feature="firmware: uefi",
        is_asked=lambda domain: domain.firmware.kind == "uefi",
        libvirt=(5, 2, 0),
        way_out="write the loader's path in xml:, or use bios",
    ),
    Requirement(
        feature="firmware.secure_boot",
        is_asked=lambda domain: domain.firmware.secure_boot is not None,
        libvirt=(7, 2, 0),
        way_out="leave secure_boot out",
    ),
    Requirement(
        feature="cpu mode maximum",
        is_asked=lambda domain: domain.cpu and domain.cpu.mode == "maximum",
        libvirt=(7, 1, 0),
        way_out="write a model",
    ),
    Requirement(
        feature="numatune.mode: restrictive",
        is_asked=lambda domain: domain.numatune and domain.numatune.mode == "restrictive",
        libvirt=(7, 3, 0),
        way_out="use strict",
    ),
    # Without NUMA cells of the guest.
    Requirement(
        feature="filesystems (virtiofs)", is_asked=lambda domain: domain.filesystems, libvirt=(6, 9, 0), qemu=(5, 0, 0)
    ),
    Requirement(feature="tpm", is_asked=lambda domain: domain.tpm, libvirt=(4, 5, 0), qemu=(2, 11, 0)),
    Requirement(
        feature="vsock", is_asked=lambda domain: domain.vsock_cid is not None, libvirt=(4, 4, 0), qemu=(2, 8, 0)
    ),
    Requirement(
        feature="watchdog itco",
        is_asked=lambda domain: domain.watchdog and domain.watchdog.model == "itco",
        libvirt=(9, 1, 0),
        way_out="use i6300esb",
    ),
)

INTERFACE: tuple[Requirement[Interface], ...] = (
    *_of_attributes(attributes.INTERFACE),
    Requirement(
        feature="vlan on a plain bridge",
        is_asked=lambda interface: interface.bridge and interface.vlan,
        libvirt=(11, 0, 0),
        way_out="make a bridge for that VLAN on the host, or use a network with Open vSwitch",
    ),
)


MEMBALLOON: tuple[Requirement[object], ...] = (*_of_attributes(attributes.MEMBALLOON, "memballoon."),)


def unmet(subject: S, rows: tuple[Requirement[S], ...], capabilities: Capabilities) -> Iterator[str]:
    """Yield why the subject can't have the features that it uses."""
    for row in rows:
        if problem := row.problem(subject, capabilities):
            yield problem
