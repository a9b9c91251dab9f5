"""The images that a retired domain leaves: those of its definition, and those that an earlier spec gave it."""

from collections.abc import Sequence
from functools import partial

from virtrbd.ceph.children import with_owners
from virtrbd.ceph.details import read_details
from virtrbd.ceph.images import read_image
from virtrbd.ceph.listing import list_images
from virtrbd.domainxml.defined import DefinedDomain
from virtrbd.images.host import Host
from virtrbd.images.remove import plan_once_free
from virtrbd.images.users import images_named_by, read_uses
from virtrbd.model.hazard import Hazard
from virtrbd.model.image import Image, ImageRef
from virtrbd.model.plan import DomainPlan
from virtrbd.model.retirement import RetiredImage, Retirement
from virtrbd.planning.removal import RemovalPlan, plan_removal
from virtrbd.planning.retirement import plan_rest


def images_of(host: Host, domain: DefinedDomain) -> tuple[list[Image], list[ImageRef]]:
    """Return the images that the definition names, and others in the same pools that are marked as the domain's."""
    refs = images_named_by(host.hypervisor, domain)
    named = [image for ref in refs if (image := read_image(host.cluster, ref))]
    rooms = sorted({(image.ref.pool, image.ref.namespace) for image in named})
    listed = [image for pool, namespace in rooms for image in list_images(host.cluster, pool, namespace).images]
    owned = [image.ref for image in listed if image.mark and image.mark.domain_uuid == domain.uuid]
    return named, [ref for ref in owned if ref not in refs]


def left_of(host: Host, retirement: Retirement) -> tuple[RetiredImage, ...]:
    """Return the images that still must be trashed; an image in the trash, or another of its name, is left out."""
    left = []
    for each in retirement.images:
        image = read_image(host.cluster, each.ref)
        if image and image.image_id == each.image_id:
            left.append(each)
        else:
            host.state.note_trashed(retirement.name, each.ref)
    return tuple(left)


def removals_of(host: Host, domain: DefinedDomain, images: Sequence[Image], delay_s: float) -> list[RemovalPlan]:
    """Return what prevents trashing each image of the domain, the domain itself aside.

    While its guest runs, its own QEMU does not count; nor do clients that may have crashed, where the step will ask for
    its hazard first. Else they are waited for.
    """
    own = [image.ref for image in images if image.is_of(domain.uuid)]
    is_waited_for = not domain.state.is_active and Hazard.LOSES_DATA in host.allowed
    return _removals(host, domain.uuid, own, delay_s, is_waited_for=is_waited_for)


def rest_of(host: Host, retirement: Retirement) -> DomainPlan:
    """Return the plan for the rest of a retirement that was interrupted after the domain was undefined."""
    left = left_of(host, retirement)
    refs = [image.ref for image in left]
    removals = _removals(host, retirement.domain_uuid, refs, retirement.delay_s, is_waited_for=True)
    return plan_rest(retirement, left, removals)


def _removals(
    host: Host, domain_uuid: str, refs: Sequence[ImageRef], delay_s: float, *, is_waited_for: bool
) -> list[RemovalPlan]:
    others = tuple(use for use in read_uses(host.hypervisor) if use.uuid != domain_uuid)

    def plan(ref: ImageRef) -> RemovalPlan:
        details = read_details(host.cluster, ref)
        if details is None:
            return RemovalPlan(subject=ref)
        return plan_removal(with_owners(host.cluster, details), others, host.host_uuid, delay_s=delay_s)

    if not is_waited_for:
        return [plan(ref).without_lingering() for ref in refs]
    # Each step asks for its hazards itself.
    return [plan_once_free(host, partial(plan, ref), frozenset(Hazard), clear=False) for ref in refs]
