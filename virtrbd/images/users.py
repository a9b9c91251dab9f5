"""The users of an image among this host's domains: the one answer, over all that libvirt keeps of them (law 14)."""

from collections.abc import Iterator, Sequence

from virtrbd.contained import contained
from virtrbd.domainxml.defined import DefinedDomain
from virtrbd.domainxml.document import Document
from virtrbd.domainxml.image_uses import named_images
from virtrbd.errors import VirtrbdError
from virtrbd.hypervisor.connection import Hypervisor
from virtrbd.images.block_devices import images_behind
from virtrbd.images.mapped import CephPoolOf
from virtrbd.model.failure import Failure
from virtrbd.model.image import ImageRef
from virtrbd.model.image_use import DomainUse, ImageUse, NamedDevice, NamedImages, NamedVolume, Role, Unread
from virtrbd.model.record import replace

_KEPT = {"domain": "its managed save", "domainsnapshot": "its snapshot"}


def read_uses(hypervisor: Hypervisor) -> tuple[DomainUse, ...]:
    """Return what each domain names: in its definition, its live XML, its managed save and its snapshots.

    Raises UnavailableError, HypervisorError.
    """
    kept, domains = hypervisor.kept_documents(), hypervisor.domains()
    unread = (
        DomainUse(name=domain.name, uuid=domain.uuid, state=domain.state, unread=(Unread(what=domain.failure.text),))
        for domain in domains.unread
    )
    return (*(use_of(domain, kept.get(domain.uuid, ()), hypervisor.ceph_pool_of) for domain in domains.read), *unread)


def images_named_by(hypervisor: Hypervisor, domain: DefinedDomain) -> tuple[ImageRef, ...]:
    """Return the images, not snapshots, that the domain's definition or its guest names, in any way, sorted."""
    return tuple(sorted({ref.image for ref in use_of(domain, (), hypervisor.ceph_pool_of).refs}))


def use_of(domain: DefinedDomain, kept: Sequence[Document | Failure], ceph_pool_of: CephPoolOf) -> DomainUse:
    """Return what the domain names; a document that cannot be read may use what its text names, or any image."""
    images: dict[tuple[ImageRef, Role, str], ImageUse] = {}
    unread = {Unread(what=f"everything that it names ({each.text})") for each in kept if isinstance(each, Failure)}
    documents = [(each, False) for each in domain.documents]
    documents += [(each, True) for each in kept if isinstance(each, Document)]
    for document, is_kept in documents:
        try:
            with contained(f"reading what domain {domain.name} uses"):
                root = document.tree
                found = tuple(_uses(named_images(root), ceph_pool_of))
        except VirtrbdError as error:
            unread.add(Unread(what=f"its XML ({error.as_line})", text=document.text))
            continue
        unread |= {use for use in found if isinstance(use, Unread)}
        for use in (use for use in found if isinstance(use, ImageUse)):
            kept_in = _KEPT.get(str(root.tag), "what libvirt keeps of it") if is_kept else ""
            images.setdefault((use.ref, use.role, use.place), replace(use, kept_in=kept_in))
    return DomainUse(
        name=domain.name,
        uuid=domain.uuid,
        state=domain.state,
        images=tuple(sorted(images.values())),
        unread=tuple(sorted(unread, key=lambda each: each.what)),
    )


def _uses(named: NamedImages, ceph_pool_of: CephPoolOf) -> Iterator[ImageUse | Unread]:
    yield from named.images
    yield from named.unread
    for volume in named.volumes:
        yield from _of_volume(volume, ceph_pool_of(volume.pool))
    for device in named.devices:
        yield from _of_device(device, images_behind(device.path))


def _of_volume(volume: NamedVolume, pool: str | None) -> Iterator[ImageUse | Unread]:
    if pool is None:
        what = f"volume {volume.volume} of the storage pool {volume.pool}"
        yield Unread(what=f"{volume.place}: {what}, which libvirt does not know", text=volume.volume)
    elif pool:
        yield ImageUse(ref=ImageRef(pool=pool, name=volume.volume), role=volume.role, place=volume.place)


def _of_device(device: NamedDevice, images: tuple[ImageRef, ...] | None) -> Iterator[ImageUse | Unread]:
    if images is None:
        yield Unread(what=f"{device.place}: {device.path}, which is not mapped now")
    for ref in images or ():
        yield ImageUse(ref=ref, role=device.role, place=device.place)
