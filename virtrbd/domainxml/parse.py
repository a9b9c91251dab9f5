"""Parse definitions of domains, disks, storage pools and secrets into the model."""

from lxml import etree

from virtrbd.domainxml.document import LiveDocument
from virtrbd.domainxml.tree import Element, attribute, parse_tree, to_text
from virtrbd.model.disk import DefinedDisk
from virtrbd.model.image import ImageRef


def disks_of(root: Element) -> tuple[DefinedDisk, ...]:
    """Return the disks of a domain by target; `image` is None for a disk that is not on RBD."""
    disks = [_disk(element) for element in root.iterfind("devices/disk")]
    return tuple(sorted(disks, key=lambda disk: disk.target))


def is_encrypted(live: LiveDocument, target: str) -> bool:
    """Whether the domain's disk is decrypted by libvirt: its guest then has less of it than the image is large."""
    disks = (disk for disk in live.tree.iterfind("devices/disk") if attribute(disk, "target", "dev") == target)
    return any(disk.find(path) is not None for disk in disks for path in ("encryption", "source/encryption"))


def _disk(element: Element) -> DefinedDisk:
    return DefinedDisk(
        target=attribute(element, "target", "dev"),
        bus=attribute(element, "target", "bus"),
        image=parse_image(element),
        cache=attribute(element, "driver", "cache") or "default",
        discard=attribute(element, "driver", "discard") or "ignore",
        device=element.get("device", "disk"),
        readonly=element.find("readonly") is not None,
        shareable=element.find("shareable") is not None,
    )


def parse_image(element: Element) -> ImageRef | None:
    """Return the image behind a <disk>, None for one that is not on RBD."""
    source = element.find("source")
    return None if source is None or source.get("protocol") != "rbd" else source_image(source)


def source_image(source: Element) -> ImageRef | None:
    """Return the image that a `<source protocol='rbd'>` names, None where its name is not an image's."""
    snapshot = attribute(source, "snapshot", "name")
    pool, _, path = source.get("name", "").partition("/")
    namespace, _, name = path.rpartition("/")
    return ImageRef(pool=pool, namespace=namespace, name=name, snapshot=snapshot) if pool and name else None


def ceph_pool_in(xml: str) -> str:
    """Return the Ceph pool behind a libvirt storage pool's XML, "" for another type of pool."""
    root = parse_tree(xml)
    return root.findtext("source/name", "") if root.get("type") == "rbd" else ""


def secret_xml(uuid: str, usage: str, description: str) -> str:
    """Return the XML of a ceph secret.

    private: libvirt gives the value to QEMU only, so a crash between defining and setting could not be seen.
    """
    root = etree.Element("secret", ephemeral="no", private="yes")
    etree.SubElement(root, "uuid").text = uuid
    etree.SubElement(root, "description").text = description
    etree.SubElement(etree.SubElement(root, "usage", type="ceph"), "name").text = usage
    return to_text(root)


def parse_console(live: LiveDocument) -> str:
    """Return the pty of a running guest's serial console, empty when it has none."""
    return attribute(live.tree, "devices/console/source", "path")
