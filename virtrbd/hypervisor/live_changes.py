"""Changes in a running guest. Each calls QEMU's monitor, so each may hang with that guest, until its deadline."""

from collections.abc import Mapping
from typing import Any

from virtrbd.hypervisor.bindings import libvirt
from virtrbd.hypervisor.connection import Hypervisor
from virtrbd.hypervisor.growing import grow_disk
from virtrbd.hypervisor.marks import write_mark
from virtrbd.hypervisor.reading import definition_of, live_of
from virtrbd.lazily import lazily
from virtrbd.model.element_path import ElementPath
from virtrbd.model.record import replace

with lazily():
    from virtrbd.domainxml.own_devices import live_mark

_LIVE = libvirt.VIR_DOMAIN_AFFECT_LIVE


def block_resize(hypervisor: Hypervisor, uuid: str, target: str, from_bytes: int, to_bytes: int) -> bool:
    """Grow a running guest's disk: QEMU resizes the image, and the guest sees the new size. Never shrinks.

    Return whether the guest had less. Raises HypervisorError when QEMU does not show the new size afterwards.
    """
    return hypervisor.on(uuid, f"growing {target}", lambda domain: grow_disk(domain, target, from_bytes, to_bytes))


def attach_live(hypervisor: Hypervisor, uuid: str, xml: str) -> None:
    """Attach a device to the running guest only."""
    hypervisor.on(uuid, "attaching a device", lambda domain: domain.attachDeviceFlags(xml, _LIVE))


def detach_live(hypervisor: Hypervisor, uuid: str, xml: str) -> None:
    """Ask the running guest to release a device; it may take long, or ignore that."""
    hypervisor.on(uuid, "detaching a device", lambda domain: domain.detachDeviceFlags(xml, _LIVE))


def update_live(hypervisor: Hypervisor, uuid: str, xml: str) -> None:
    """Change a device of the running guest: a medium, a link."""
    hypervisor.on(uuid, "changing a device", lambda domain: domain.updateDeviceFlags(xml, _LIVE))


def limit_disk_live(hypervisor: Hypervisor, uuid: str, target: str, limits: Mapping[str, int | str]) -> None:
    """Set I/O limits of a running guest's disk, by libvirt's names; 0 is none."""
    hypervisor.on(uuid, f"limiting {target}", lambda domain: domain.setBlockIoTune(target, dict(limits), _LIVE))


def set_memory_live(hypervisor: Hypervisor, uuid: str, to_bytes: int) -> None:
    """Set the balloon of the running guest, and record that; the guest follows later."""

    def change(domain: Any) -> None:
        domain.setMemoryFlags(to_bytes // 1024, _LIVE)
        if mark := live_of(domain).mark:
            write_mark(domain, replace(mark, balloon_bytes=to_bytes), _LIVE)

    hypervisor.on(uuid, "setting memory", change)


def set_vcpus_live(hypervisor: Hypervisor, uuid: str, count: int) -> None:
    """Plug vcpus of the running guest in or out."""
    hypervisor.on(uuid, "setting vcpus", lambda domain: domain.setVcpusFlags(count, _LIVE))


def set_title_live(hypervisor: Hypervisor, uuid: str, title: str, description: str) -> None:
    """Set title and description of the running domain; an empty one is removed."""

    def write(domain: Any) -> None:
        for kind, text in (
            (libvirt.VIR_DOMAIN_METADATA_TITLE, title),
            (libvirt.VIR_DOMAIN_METADATA_DESCRIPTION, description),
        ):
            domain.setMetadata(kind, text or None, None, None, _LIVE)

    hypervisor.on(uuid, "setting title and description", write)


def mark_live(hypervisor: Hypervisor, uuid: str, stated: tuple[ElementPath, ...], seen: Mapping[str, str]) -> None:
    """Record in the live XML what of the running guest is virtrbd's; the rest of its mark stays.

    `seen`: where its devices were when it was observed, by step.
    """

    def write(domain: Any) -> None:
        mark = live_mark(live_of(domain), definition_of(domain), stated, seen)
        if mark:
            write_mark(domain, mark, _LIVE)

    hypervisor.on(uuid, "marking the running domain", write)
