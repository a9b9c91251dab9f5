"""Undefine: the domain goes, its images stay or go to the trash."""

from virtrbd.ceph.images import read_image
from virtrbd.ceph.trash import trash_image
from virtrbd.domainxml.mark import read_mark
from virtrbd.domainxml.parse import parse_disks
from virtrbd.errors import BlockedError, HypervisorError
from virtrbd.host.host import Host
from virtrbd.host.power import note_clean_stop
from virtrbd.host.traces import note_made
from virtrbd.model.domain import DefinedDomain, PowerState
from virtrbd.model.hazard import Hazard
from virtrbd.model.image import Image

# librbd's own default is no delay at all: a purge takes the image at once.
TRASH_DELAY_S = 14 * 24 * 3600


def undefine_domain(host: Host, domain: DefinedDomain, *, trash_images: bool) -> list[str]:
    """Undefine, and return a line for each thing done. Raises BlockedError, HypervisorError, ImageBusyError."""
    name = domain.name
    if domain.state.is_active:
        raise HypervisorError(f"{name}: is {domain.state.value}; shut it down first with virtrbd shutdown {name}")
    if domain.state is PowerState.SAVED:
        raise HypervisorError(f"{name}: holds a managed save; resume it, or drop it with virsh managedsave-remove")
    if read_mark(domain.definition) is None and Hazard.TAKES_OVER not in host.allowed:
        raise BlockedError(f"{name}: is not virtrbd's; --allow takes-over undefines it all the same")
    owned = _owned_images(host, domain.uuid, domain.definition)
    note_clean_stop(host, domain)
    lines = []
    # Images first: a crash in between leaves a domain that can be named again, not images that nobody knows.
    for image in owned if trash_images else ():
        trash_image(host.cluster, image.ref, image.image_id, TRASH_DELAY_S)
        lines.append(f"moved image {image.ref} to the trash for 14 days")
    for image in owned:
        # The definition goes, which was the proof for images of earlier versions.
        note_made(host.state, image.ref, image.image_id)
    host.hypervisor.undefine(domain.uuid)
    kept = [] if trash_images else [f"kept image {image.ref}" for image in owned]
    return [*lines, "undefined", *kept]


def _owned_images(host: Host, uuid: str, definition: str) -> list[Image]:
    refs = [disk.image.image for disk in parse_disks(definition) if disk.image]
    return [image for ref in refs if (image := read_image(host.cluster, ref)) and image.is_of(uuid)]
