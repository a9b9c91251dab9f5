"""What a spec says of a definition's disks and CD-ROM drives."""

from collections.abc import Collection, Iterator, Mapping

from virtrbd.adoption.word import Value, Word, number, read_rows
from virtrbd.domainxml.document import Definition
from virtrbd.domainxml.monitors import is_of_this_cluster
from virtrbd.domainxml.parse import parse_image
from virtrbd.domainxml.tree import Element, attribute, whole_number
from virtrbd.model.attributes import DISK
from virtrbd.model.element_path import ElementPath
from virtrbd.model.image import ImageRef
from virtrbd.model.size import exact_size


def images_of(definition: Definition, monitors: Collection[str] | None = None) -> tuple[ImageRef, ...]:
    """Return the images behind the disks of a definition, sorted; where `monitors` are given, only their cluster's."""
    disks = list(definition.tree.iterfind("devices/disk"))
    if monitors is not None:
        disks = [disk for disk in disks if is_of_this_cluster(disk, monitors)]
    return tuple(sorted({image.image for disk in disks if (image := parse_image(disk)) is not None}))


def why_unknown(disk: Element, sizes: Mapping[ImageRef, int], monitors: Collection[str]) -> str:
    """Return why a spec cannot have the disk, empty where that must be tried."""
    image = parse_image(disk)
    if image is None:
        return "its source does not name an image"
    if not is_of_this_cluster(disk, monitors):
        hosts = ", ".join(host.get("name", "") for host in disk.iterfind("source/host"))
        return f"its monitors ({hosts}) are not this cluster's"
    if image.image not in sizes:
        return f"image {image.image} does not exist"
    return ""


def disk_words(disk: Element, sizes: Mapping[ImageRef, int]) -> Iterator[Word]:
    """Yield the words of a disk that a spec can have."""
    target, image = attribute(disk, "target", "dev"), parse_image(disk)
    assert image is not None, "a disk without an image was sorted out before"
    shared = {name: True for name in ("readonly", "shareable") if disk.find(name) is not None}
    size = exact_size(sizes[image.image])
    # An image that several guests read or write has no owner.
    source = {"existing": True} if shared or image.snapshot or not size else {"size": size}
    value = {
        "target": target,
        "bus": attribute(disk, "target", "bus"),
        "image": str(image),
        **source,
        "cache": attribute(disk, "driver", "cache") or "default",
        "discard": attribute(disk, "driver", "discard") or "default",
        **_granularity(disk),
        **shared,
    }
    yield Word(path=("disks", target), value=value, device=ElementPath.of_device(f"disk:{target}"))
    for name, found in (*read_rows(disk, DISK), ("iotune", _limits(disk)), ("iothreads", _iothreads(disk))):
        if name not in value and found not in ("", None, {}, []):
            yield Word(path=("disks", target, name), value=found)


def _iothreads(disk: Element) -> Value:
    queues = {
        thread.get("id", ""): [number(queue.get("id")) for queue in thread.iterfind("queue")]
        for thread in disk.iterfind("driver/iothreads/iothread")
    }
    return queues if any(queues.values()) else [number(thread) for thread in queues]


def _limits(disk: Element) -> dict[str, Value]:
    return {str(limit.tag): _limit(limit) for limit in disk.iterfind("iotune/*")}


def _granularity(disk: Element) -> dict[str, Value]:
    """Where the definition states nothing, the device keeps its default."""
    stated = number(attribute(disk, "blockio", "discard_granularity"))
    by_itself = {"virtio": 512, "scsi": 4096}.get(attribute(disk, "target", "bus"))
    granularity = by_itself if stated is None else stated
    return {} if granularity is None else {"discard_granularity": granularity}


def _limit(limit: Element) -> int | str:
    text = limit.text or ""
    return text if limit.tag == "group_name" else whole_number(text, 0)


def cdrom_words(disk: Element, monitors: Collection[str]) -> Iterator[Word]:
    """An empty drive, or an image; a spec cannot express a drive with a file or a device of the host."""
    target, image = attribute(disk, "target", "dev"), parse_image(disk)
    is_empty = disk.find("source") is None and disk.get("type") == "file"
    if is_empty or (image and is_of_this_cluster(disk, monitors)):
        value = {"target": target, "bus": attribute(disk, "target", "bus")} | ({"image": str(image)} if image else {})
        yield Word(path=("cdroms", target), value=value, device=ElementPath.of_device(f"disk:{target}"))
        if order := number(attribute(disk, "boot", "order")):
            yield Word(path=("cdroms", target, "boot"), value=order)
