"""The images that a domain leaves when it is retired: what its definition names, and what an earlier spec gave it."""

from virtrbd.ceph.images import read_image
from virtrbd.ceph.listing import list_images
from virtrbd.domainxml.parse import parse_disks
from virtrbd.host.host import Host
from virtrbd.model.domain import DefinedDomain
from virtrbd.model.image import Image, ImageRef


def images_of(host: Host, domain: DefinedDomain) -> tuple[list[Image], list[ImageRef]]:
    """Return the images that the definition names, and others in the same pools that are marked as the domain's."""
    refs = sorted({disk.image.image for disk in parse_disks(domain.definition) if disk.image})
    named = [image for ref in refs if (image := read_image(host.cluster, ref))]
    rooms = sorted({(image.ref.pool, image.ref.namespace) for image in named})
    listed = [image for pool, namespace in rooms for image in list_images(host.cluster, pool, namespace).images]
    owned = [image.ref for image in listed if image.mark and image.mark.domain_uuid == domain.uuid]
    return named, [ref for ref in owned if ref not in refs]
