"""The verb `inspect`: a domain and its images on one screen."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.domains import NAME
from virtrbd.lazily import lazily
from virtrbd.printable import cut

with lazily():
    from virtrbd.ceph.images import read_image
    from virtrbd.ceph.unread import image_or_failure
    from virtrbd.commands.connected.host import connected
    from virtrbd.commands.connected.named import require
    from virtrbd.commands.output.table import table
    from virtrbd.domainxml.defined import DefinedDomain
    from virtrbd.engine.writers import two_writers_texts
    from virtrbd.images.host import Host
    from virtrbd.images.users import use_of
    from virtrbd.model.disk import DefinedDisk
    from virtrbd.model.failure import Failure
    from virtrbd.model.image import ImageRef
    from virtrbd.model.size import format_size


@verb
@NAME
def inspect(run: Run, name: str) -> None:
    """Show a domain and its images on one screen."""
    with connected(run, run.settings()) as host:
        data = inspection(host, name)
    run.answer({"domain": data}, inspection_lines(data))


def inspection(host: Host, name: str) -> dict[str, Any]:
    """Return everything that is known of a domain: JSON-ready, sizes in bytes."""
    domain = require(host, name)
    definition, disks = domain.definition, (domain.live or domain.definition).disks
    return {
        "name": domain.name,
        "uuid": domain.uuid,
        "state": domain.state.value,
        "memory_bytes": definition.memory_bytes,
        "vcpus": definition.vcpus,
        "hypervisor": definition.hypervisor_type,
        "machine": definition.machine,
        "autostart": domain.autostart,
        "owned": definition.mark is not None,
        "disks": [_disk(host, disk, domain.uuid) for disk in disks],
        "two_writers": list(two_writers_texts(host, domain)),
        "other_images": _other_images(host, domain, {disk.image for disk in disks}),
    }


def _other_images(host: Host, domain: DefinedDomain, shown: Collection[ImageRef | None]) -> list[dict[str, str]]:
    """Return the images that the domain names in other ways than as a disk: as NVRAM, below an overlay, in a save."""
    kept = host.hypervisor.kept_documents().get(domain.uuid, ())
    used = use_of(domain, kept, host.hypervisor.ceph_pool_of)
    return [{"image": str(use.ref), "as": str(use)} for use in used.images if use.ref not in shown]


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
            # librbd's own options here override ceph.conf and the cache mode.
            "config": dict(image.config),
        }
    return data


def inspection_lines(data: dict[str, Any]) -> list[str]:
    """Return the screen as text."""
    head = [
        f"{data['name']}: {data['state']}",
        f"  memory {format_size(data['memory_bytes'])}, vcpus {data['vcpus']}, {data['hypervisor']} {data['machine']}"
        f", autostart {'on' if data['autostart'] else 'off'}, {'virtrbd owns it' if data['owned'] else 'not owned'}",
        f"  uuid {data['uuid']}",
        *(f"  WARNING: {text}" for text in data["two_writers"]),
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
    others = [f"{other['image']}: {other['as']}" for other in data["other_images"]]
    return [*head, *table(titles, rows), *(line for part in (others, options, errors) if part for line in ("", *part))]


def _size(size_bytes: int | None, otherwise: str) -> str:
    return otherwise if size_bytes is None else format_size(size_bytes)
