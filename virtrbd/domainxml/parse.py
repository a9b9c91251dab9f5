"""Parse definitions of domains, disks, storage pools and secrets into the model."""

from lxml import etree

from virtrbd.domainxml.defined import DefinedDomain
from virtrbd.domainxml.plain import SECRET_NOT_SET, SECRET_SET
from virtrbd.domainxml.tree import Element, attribute, parse_tree, to_text, whole_number
from virtrbd.errors import DocumentError, HypervisorError
from virtrbd.model.domain import DefinedDisk
from virtrbd.model.image import ImageRef


def require_readable(domain: DefinedDomain) -> DefinedDomain:
    """Return the domain when what libvirt holds of it can be read. Raises HypervisorError."""
    try:
        for xml in filter(None, (domain.definition, domain.live)):
            parse_tree(xml)
    except DocumentError as error:
        raise HypervisorError(f"{domain.name}: {error}; look with virsh dumpxml, and mend it") from error
    return domain


def parse_disks(xml: str) -> tuple[DefinedDisk, ...]:
    """Return the disks of a definition by target; `image` is None for a disk that is not on RBD."""
    return disks_of(parse_tree(xml))


def disks_of(root: Element) -> tuple[DefinedDisk, ...]:
    """Return the disks of a domain by target; `image` is None for a disk that is not on RBD."""
    disks = [_disk(element) for element in root.iterfind("devices/disk")]
    return tuple(sorted(disks, key=lambda disk: disk.target))


def parse_memory_and_vcpus(xml: str) -> tuple[int, int]:
    """Return memory in bytes and vcpus. libvirt always writes memory in KiB. Raises DocumentError."""
    root = parse_tree(xml)
    return whole_number(root.findtext("memory"), 0) * 1024, whole_number(root.findtext("vcpu"), 1)


def parse_machine(xml: str) -> tuple[str, str]:
    """Return the hypervisor type and the machine, version and all."""
    root = parse_tree(xml)
    return root.get("type", ""), attribute(root, "os/type", "machine")


def is_encrypted(xml: str, target: str) -> bool:
    """Whether the domain's disk is decrypted by libvirt: its guest then has less of it than the image is large."""
    disks = (disk for disk in parse_tree(xml).iterfind("devices/disk") if attribute(disk, "target", "dev") == target)
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


def secret_xml(uuid: str, usage: str, *, is_set: bool) -> str:
    """Return the XML of a ceph secret; its description records whether it has its value.

    private: libvirt gives the value to QEMU only, so a crash between defining and setting could not be seen.
    """
    root = etree.Element("secret", ephemeral="no", private="yes")
    etree.SubElement(root, "uuid").text = uuid
    etree.SubElement(root, "description").text = SECRET_SET if is_set else SECRET_NOT_SET
    etree.SubElement(etree.SubElement(root, "usage", type="ceph"), "name").text = usage
    return to_text(root)


def parse_console(live: str) -> str:
    """Return the pty of a running guest's serial console, empty when it has none."""
    return attribute(parse_tree(live), "devices/console/source", "path")
