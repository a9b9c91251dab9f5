"""What a definition says, in our own words."""

from virtrbd.domainxml.tree import Element, attribute, parse_tree
from virtrbd.model.domain import DefinedDisk
from virtrbd.model.image import ImageRef


def parse_disks(xml: str) -> tuple[DefinedDisk, ...]:
    """Return the disks of a definition by target; `image` is None for those not on RBD."""
    disks = [_disk(element) for element in parse_tree(xml).iterfind("devices/disk")]
    return tuple(sorted(disks, key=lambda disk: disk.target))


def parse_size(xml: str) -> tuple[int, int]:
    """Return memory in bytes and vcpus. libvirt writes memory in KiB whatever it was given."""
    root = parse_tree(xml)
    return int(root.findtext("memory") or 0) * 1024, int(root.findtext("vcpu") or 1)


def parse_machine(xml: str) -> tuple[str, str]:
    """Return the hypervisor type and the machine, version and all."""
    root = parse_tree(xml)
    return root.get("type", ""), attribute(root, "os/type", "machine")


def _disk(element: Element) -> DefinedDisk:
    return DefinedDisk(
        target=attribute(element, "target", "dev"),
        bus=attribute(element, "target", "bus"),
        image=_image(element),
        cache=attribute(element, "driver", "cache") or "default",
        discard=attribute(element, "driver", "discard") or "ignore",
        device=element.get("device", "disk"),
        readonly=element.find("readonly") is not None,
        shareable=element.find("shareable") is not None,
    )


def _image(element: Element) -> ImageRef | None:
    if attribute(element, "source", "protocol") != "rbd":
        return None
    snapshot = attribute(element, "source/snapshot", "name")
    pool, _, path = attribute(element, "source", "name").partition("/")
    namespace, _, name = path.rpartition("/")
    return ImageRef(pool=pool, namespace=namespace, name=name, snapshot=snapshot) if pool and name else None
