"""Every RBD image that a domain's XML names, in all the ways in which it can name one. Pure.

The ways (libvirt's docs/formatdomain): a `<source protocol='rbd'>` at any depth (a disk, its backing
chain, the target of a block copy, NVRAM), a block device, a volume of a storage pool, QEMU's own arguments.
"""

import re
from collections.abc import Collection, Iterator
from ipaddress import IPv4Address, IPv6Address

from msgspec import Struct

from virtrbd.domainxml.parse import disks_of, source_image
from virtrbd.domainxml.qemu_arguments import images_in_argument
from virtrbd.domainxml.tree import Element, children, device_key, word
from virtrbd.model.address import address_of
from virtrbd.model.image import ImageRef
from virtrbd.model.image_use import ImageUse, NamedDevice, NamedImages, NamedVolume, Role, Unread

# Texts for people and programs: QEMU does not read them.
_ARGUMENT = "an argument of QEMU"
_PROSE = frozenset({"name", "title", "description", "metadata", "uuid"})
_DEVICE = re.compile(r"/dev/[^,\"'\s:]+")
# Ceph's udev rules (50-rbd.rules): /dev/rbd/POOL/[NAMESPACE/]IMAGE[@SNAPSHOT][-partN].
_NAMED = re.compile(r"/dev/rbd/([^/]+)/(?:([^/]+)/)?([^/@]+?)(?:@([^/]+?))?(-part\d+)?")
# What QEMU reads from there is not in the XML.
_READ_FROM_FILES = frozenset({"-readconfig", "--readconfig"})
_ROLES = {
    "backingStore": Role.BASE,
    "mirror": Role.COPY,
    "nvram": Role.STATE,
    "varstore": Role.STATE,
    "tpm": Role.STATE,
}


def named_images(root: Element) -> NamedImages:
    """Return what the domain names. `root` may be a domain, or any document around one (a snapshot's)."""
    found = _Found()
    for element in _elements(root):
        place, role = _place(element), _role(element)
        found.look(element, place, role)
    return found.result()


def written_images(root: Element) -> tuple[ImageRef, ...]:
    """Return the images that the domain's QEMU opens read-write by librbd: disks, NVRAM."""
    disks = (disk.image for disk in disks_of(root) if disk.is_written)
    nvram = (source_image(source) for source in root.iterfind("os/nvram/source") if source.get("protocol") == "rbd")
    return tuple(dict.fromkeys(ref for ref in (*disks, *nvram) if ref and not ref.snapshot))


def images_of_disk(root: Element, device: str) -> frozenset[ImageRef]:
    """Return the image of a disk, which is named like `disk:vda`; of none where it has another source."""
    return frozenset(disk.image for disk in disks_of(root) if f"disk:{disk.target}" == device and disk.image)


def images_elsewhere(root: Element, monitors: Collection[str]) -> frozenset[ImageRef]:
    """Return the images whose sources all name other monitors than the cluster's, by their addresses.

    Usually they are another cluster's. They may be this cluster's behind NAT, or the document is too old.
    """
    sources = [*root.iterfind("devices/disk/source"), *root.iterfind("os/nvram/source")]
    known = {address_of(monitor) for monitor in monitors}
    named = [(ref, _is_elsewhere(source, known)) for source in sources if (ref := source_image(source))]
    return frozenset(ref for ref, _ in named) - {ref for ref, is_elsewhere in named if not is_elsewhere}


def _is_elsewhere(source: Element, known: Collection[IPv4Address | IPv6Address | None]) -> bool:
    """Whether all monitors that a source names are others; a name that is not an address may lead to any."""
    hosts = [address_of(host.get("name", "")) for host in source.iterfind("host")]
    return bool(hosts) and all(host is not None and host not in known for host in hosts)


def times_open(root: Element, ref: ImageRef) -> int:
    """Return how often the domain's QEMU opens the image read-write: once for each disk and drive, each a client."""
    return sum(1 for use in named_images(root).images if use.ref == ref and use.role is not Role.BASE)


def argument_images(root: Element) -> tuple[ImageRef, ...]:
    """Return the images that arguments of QEMU name, which it may open read-write or not."""
    found = named_images(root).images
    return tuple(dict.fromkeys(use.ref for use in found if use.place == _ARGUMENT and not use.ref.snapshot))


class WrittenSources(Struct, frozen=True, kw_only=True):
    """The volumes and the paths of block devices that QEMU opens read-write."""

    volumes: tuple[NamedVolume, ...] = ()
    devices: tuple[str, ...] = ()


def sources_written(root: Element, device: str = "") -> WrittenSources:
    """Return the volumes and the block devices that QEMU opens read-write: of all disks and NVRAM, or of one disk."""
    disks = [
        disk for disk in root.iterfind("devices/disk") if device in ("", device_key(disk)) and not _is_shared(disk)
    ]
    inside = [*disks, *(() if device else root.iterfind("os/nvram"))]
    sources = [source for each in inside for source in each.iterfind("source")]
    volumes = (
        NamedVolume(
            pool=source.get("pool", ""), volume=source.get("volume", ""), role=_role(source), place=_place(source)
        )
        for source in sources
        if source.get("volume")
    )
    devices = tuple(dev for source in sources if (dev := source.get("dev", "")))
    return WrittenSources(volumes=tuple(volumes), devices=devices)


def _elements(root: Element) -> Iterator[Element]:
    """Yield the elements that libvirt or QEMU reads."""
    pending = [root]
    while pending:
        element = pending.pop()
        yield element
        pending += [child for child in children(element) if child.tag not in _PROSE]


class _Found:
    """What was found so far; each thing once."""

    def __init__(self) -> None:
        self.images: set[ImageUse] = set()
        self.volumes: set[NamedVolume] = set()
        self.devices: set[NamedDevice] = set()
        self.unread: set[Unread] = set()

    def result(self) -> NamedImages:
        return NamedImages(
            images=tuple(sorted(self.images)),
            volumes=tuple(sorted(self.volumes)),
            devices=tuple(sorted(self.devices)),
            unread=tuple(sorted(self.unread)),
        )

    def look(self, element: Element, place: str, role: Role) -> None:
        """Keep what the element itself names, not what its children do."""
        if element.get("protocol") == "rbd":
            self._source(element, place, role)
        if element.get("pool") and element.get("volume"):
            pool, volume = element.get("pool", ""), element.get("volume", "")
            self.volumes.add(NamedVolume(pool=pool, volume=volume, role=role, place=place))
        if word(element).startswith("qemu:"):
            self._argument(element, place)
            return
        for text in (*element.attrib.values(), element.text or ""):
            if text.startswith("/dev/"):
                self._device(text.strip(), place, role)

    def _source(self, element: Element, place: str, role: Role) -> None:
        ref = source_image(element)
        if ref is None:
            self.unread.add(Unread(what=f"{place}: a source on RBD without an image's name"))
            return
        self.images.add(ImageUse(ref=ref, role=role, place=place))
        # libvirt takes options behind a colon literally, QEMU's old command line took them as options.
        name, colon, _ = ref.name.partition(":")
        if colon and name:
            self.images.add(
                ImageUse(
                    ref=ImageRef(pool=ref.pool, namespace=ref.namespace, name=name, snapshot=ref.snapshot),
                    role=role,
                    place=place,
                )
            )

    def _device(self, path: str, place: str, role: Role) -> None:
        if named := _NAMED.fullmatch(path):
            pool, namespace, name, snapshot, part = named.groups(default="")
            # An image may be called `x-part1` as well.
            for whole in {name, name + part} if not snapshot else {name}:
                for at in {snapshot, snapshot + part} if snapshot else {""}:
                    ref = ImageRef(pool=pool, namespace=namespace, name=whole, snapshot=at)
                    self.images.add(ImageUse(ref=ref, role=role, place=place))
        else:
            self.devices.add(NamedDevice(path=path, role=role, place=place))

    def _argument(self, element: Element, place: str) -> None:
        for value in (element.get("value", ""), element.text or ""):
            argument = images_in_argument(value)
            self.images |= {ImageUse(ref=ref, role=Role.OTHER, place=place) for ref in argument.images}
            devices = _DEVICE.findall(value)
            for path in devices:
                self._device(path, place, Role.OTHER)
            if value in _READ_FROM_FILES or not (argument.is_read or devices):
                self.unread.add(Unread(what=f"{place}: {value}"))


def _place(element: Element) -> str:
    """Return where the element is, for messages."""
    around = element
    while (parent := around.getparent()) is not None:
        if parent.tag == "devices":
            return device_key(around).replace(":", " ", 1) or str(around.tag)
        if around.tag in ("nvram", "loader", "varstore"):
            return "NVRAM" if around.tag == "nvram" else str(around.tag)
        if word(around).startswith("qemu:"):
            return _ARGUMENT
        around = parent
    return word(element)


def _role(element: Element) -> Role:
    around: Element | None = element
    while around is not None:
        if around.tag in _ROLES:
            return _ROLES[str(around.tag)]
        if around.tag == "disk":
            return Role.SHARED_DISK if _is_shared(around) else Role.DISK
        around = around.getparent()
    return Role.OTHER


def _is_shared(disk: Element) -> bool:
    return disk.get("device") == "cdrom" or any(disk.find(word) is not None for word in ("readonly", "shareable"))
