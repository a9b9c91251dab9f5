"""Which images the domains of this host use: the one answer, over all that libvirt keeps of them (law 14)."""

from collections.abc import Iterator, Sequence

from virtrbd.domainxml.image_uses import named_images
from virtrbd.domainxml.tree import parse_tree
from virtrbd.host.block_devices import images_behind
from virtrbd.hypervisor.connection import Hypervisor
from virtrbd.model.domain import DefinedDomain
from virtrbd.model.image import ImageRef
from virtrbd.model.image_use import ImageUse, NamedDevice, NamedImages, NamedVolume, Role
from virtrbd.planning.use import DomainUse


def read_uses(hypervisor: Hypervisor) -> tuple[DomainUse, ...]:
    """Return what each domain names: in its definition, its live XML, its managed save and its snapshots.

    Raises UnavailableError, HypervisorError.
    """
    kept = hypervisor.kept_documents()
    return tuple(_use(hypervisor, domain, kept.get(domain.uuid, ())) for domain in hypervisor.domains())


def _use(hypervisor: Hypervisor, domain: DefinedDomain, kept: Sequence[str]) -> DomainUse:
    images: set[ImageUse] = set()
    unread: set[str] = set()
    for xml in dict.fromkeys((domain.definition, domain.live, *kept)):
        if not xml:
            continue
        named = named_images(parse_tree(xml))
        images |= {*named.images}
        unread |= {*named.unread}
        for use in (*_volumes(hypervisor, named), *_devices(named)):
            if isinstance(use, ImageUse):
                images.add(use)
            else:
                unread.add(use)
    return DomainUse(
        name=domain.name,
        uuid=domain.uuid,
        state=domain.state,
        images=tuple(sorted(images)),
        unread=tuple(sorted(unread)),
    )


def _volumes(hypervisor: Hypervisor, named: NamedImages) -> Iterator[ImageUse | str]:
    """Yield the images that volumes of libvirt's storage pools are, and what is not known of them."""
    for volume in named.volumes:
        pool = hypervisor.ceph_pool_of(volume.pool)
        if pool is None:
            what = f"volume {volume.volume} of the storage pool {volume.pool}"
            yield f"{volume.place}: {what}, which libvirt does not know"
        elif pool:
            yield _of_volume(volume, pool)


def _of_volume(volume: NamedVolume, pool: str) -> ImageUse:
    return ImageUse(ref=ImageRef(pool=pool, name=volume.volume), role=Role.DISK, place=volume.place)


def _devices(named: NamedImages) -> Iterator[ImageUse | str]:
    """Yield the images behind this host's block devices, and what is not known of them."""
    for device in named.devices:
        images = images_behind(device.path)
        if images is None:
            yield f"{device.place}: {device.path}, which is not mapped now"
        else:
            yield from (_of_device(device, ref) for ref in images)


def _of_device(device: NamedDevice, ref: ImageRef) -> ImageUse:
    return ImageUse(ref=ref, role=device.role, place=device.place)
