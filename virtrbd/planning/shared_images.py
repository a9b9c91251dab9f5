"""Images that two domains of one host use: which domains they are, and which uses are refused."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from virtrbd.domainxml.defined import DefinedDomain
from virtrbd.domainxml.document import Document
from virtrbd.model.domain import Domain
from virtrbd.model.failure import Failure
from virtrbd.model.image import ImageRef
from virtrbd.model.image_use import DomainUse, ImageUse, Role

# What libvirt keeps of domains besides their definition and live XML, by UUID, or why it cannot be read.
Kept = Mapping[str, Sequence[Document | Failure]]


def neighbours(desired: Sequence[Domain], held: Sequence[DefinedDomain], kept: Kept) -> tuple[DefinedDomain, ...]:
    """Return the domains that may use an image of another domain's spec, by their text; parsing all would take long.

    `kept`: what libvirt keeps of domains besides their definition and live XML, by UUID.
    """
    owners: dict[str, set[str]] = defaultdict(set)
    for domain in desired:
        for ref in _images(domain):
            owners[f"{ref.pool}/{ref.path}"] |= {domain.uuid, domain.name}

    def may_use(found: DefinedDomain) -> bool:
        of_libvirt = [each for each in kept.get(found.uuid, ()) if isinstance(each, Document)]
        documents = (*found.documents, *of_libvirt)
        if any(each.may_name_more for each in documents):
            return True
        named = (owners.get(source) for each in documents for source in each.sources)
        return any(each and each.isdisjoint((found.uuid, found.name)) for each in named)

    return tuple(filter(may_use, held))


def _images(domain: Domain) -> Iterator[ImageRef]:
    yield from (disk.image.image for disk in domain.disks)
    yield from (cdrom.image.image for cdrom in domain.cdroms if cdrom.image)
    if domain.seed:
        yield domain.seed.image
    yield from domain.xml.images if domain.xml else ()


def shared_images(domain: Domain, uses: Sequence[DomainUse]) -> list[str]:
    """Name the images that another domain of this host uses so that this domain must not write or read them.

    Two writers destroy a disk, and an image below an overlay must not change. A CD-ROM drive does not write, but
    would show this domain's guest the other domain's disk. A snapshot never changes.
    """
    others = [use for use in uses if use.uuid != domain.uuid]
    written = [(f"disk {disk.target}", disk.image.image) for disk in domain.disks if disk.is_written]
    written += [("cloud_init", domain.seed.image)] if domain.seed else []
    written += [("xml", ref) for ref in domain.xml.images] if domain.xml else []
    read = [(f"cdrom {each.target}", each.image.image) for each in domain.cdroms if each.image and not each.is_seed]
    problems = [
        f"{where}: image {ref} is already {_used_as(using)} domain {other}; "
        f"give it an image of its own, or write readonly or shareable in both"
        for where, ref in written
        for other, using in _users(ref, others)
    ]
    problems += [
        f"{where}: image {ref} is {_read_as(using)} domain {other}; name another image, or a copy of it"
        for where, ref in read
        for other, using in _users(ref, others)
    ]
    return [f"{domain.origin}: {problem}" for problem in problems]


def _users(ref: ImageRef, others: Sequence[DomainUse]) -> Iterator[tuple[str, ImageUse | None]]:
    """Yield the users of the image, by name, and how; None: a domain that names it and cannot be read."""
    for other in others:
        if using := other.excluding(ref):
            yield other.name + (f" ({using[0]})" if using[0].kept_in else ""), using[0]
        elif other.may_use(ref):
            what = next(each.what for each in other.unread if each.text is not None and each.may_name(ref))
            yield f"{other.name}, perhaps: virtrbd cannot read {what}", None


def _used_as(using: ImageUse | None) -> str:
    return "written by" if using is None or using.role is Role.DISK else f"{using} of"


def _read_as(using: ImageUse | None) -> str:
    return "a disk of" if using is None or using.role is Role.DISK else f"{using} of"
