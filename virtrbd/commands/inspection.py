"""A domain and its images, joined."""

from functools import partial
from typing import Any

from virtrbd.ceph.images import read_image
from virtrbd.ceph.unread import image_or_failure
from virtrbd.commands.output import table
from virtrbd.commands.power import require
from virtrbd.domainxml.mark import read_mark
from virtrbd.domainxml.parse import parse_disks, parse_machine, parse_size
from virtrbd.host.host import Host
from virtrbd.model.domain import DefinedDisk
from virtrbd.model.failure import Failure
from virtrbd.model.size import format_size
from virtrbd.printable import cut


def inspection(host: Host, name: str) -> dict[str, Any]:
    """Return all that is known of a domain: JSON-ready, sizes in bytes."""
    domain = require(host, name)
    memory_bytes, vcpus = parse_size(domain.definition)
    hypervisor, machine = parse_machine(domain.definition)
    return {
        "name": domain.name,
        "uuid": domain.uuid,
        "state": domain.state.value,
        "memory_bytes": memory_bytes,
        "vcpus": vcpus,
        "hypervisor": hypervisor,
        "machine": machine,
        "autostart": domain.autostart,
        "owned": read_mark(domain.definition) is not None,
        "disks": [_disk(host, disk, domain.uuid) for disk in parse_disks(domain.live or domain.definition)],
    }


def _disk(host: Host, disk: DefinedDisk, uuid: str) -> dict[str, Any]:
    data: dict[str, Any] = {
        "target": disk.target,
        "bus": disk.bus,
        "cache": disk.cache,
        "discard": disk.discard,
        "image": str(disk.image) if disk.image else None,
    }
    if disk.image is None:
        return data
    image = image_or_failure(host.cluster, disk.image, partial(read_image, host.cluster, disk.image, usage=True))
    if isinstance(image, Failure):
        data["error"] = image.text
    elif image:
        data |= {
            "size_bytes": image.size_bytes,
            "allocated_bytes": image.allocated_bytes,
            "parent": str(image.parent) if image.parent else None,
            "watchers": [str(watcher) for watcher in image.watchers],
            "owned": image.is_of(uuid),
            # librbd's own options here beat ceph.conf and the cache mode.
            "config": dict(image.config),
        }
    return data


def inspection_lines(data: dict[str, Any]) -> list[str]:
    """Return the screen for a person."""
    head = [
        f"{data['name']}: {data['state']}",
        f"  memory {format_size(data['memory_bytes'])}, vcpus {data['vcpus']}, {data['hypervisor']} {data['machine']}"
        f", autostart {'on' if data['autostart'] else 'off'}, {'virtrbd owns it' if data['owned'] else 'not owned'}",
        f"  uuid {data['uuid']}",
        "",
    ]
    rows = [
        (
            disk["target"],
            disk["bus"],
            disk["cache"],
            disk["discard"],
            disk["image"] or "-",
            _size(disk.get("size_bytes"), "unreadable" if disk.get("error") else "missing"),
            _size(disk.get("allocated_bytes"), "unknown"),
            disk.get("parent") or "-",
            ", ".join(disk.get("watchers", ())) or "-",
        )
        for disk in data["disks"]
    ]
    titles = ("target", "bus", "cache", "discard", "image", "size", "allocated", "parent", "watchers")
    options = [
        f"{disk['image']}: {key}={cut(value)}"
        for disk in data["disks"]
        for key, value in disk.get("config", {}).items()
    ]
    errors = [f"{disk['image']}: cannot be read: {disk['error']}" for disk in data["disks"] if disk.get("error")]
    return head + table(titles, rows) + (["", *options] if options else []) + (["", *errors] if errors else [])


def _size(size_bytes: int | None, otherwise: str) -> str:
    return otherwise if size_bytes is None else format_size(size_bytes)
