"""The images, parents and pools that must be read to plan domains."""

from collections.abc import Collection, Mapping

from virtrbd.model.domain import Domain
from virtrbd.model.image import Image, ImageRef


def images_of_interest(domains: tuple[Domain, ...]) -> tuple[ImageRef, ...]:
    """Return every image that the domains name, sorted."""
    refs = {disk.image.image for domain in domains for disk in domain.disks}
    return tuple(sorted(refs | {cdrom.image.image for domain in domains for cdrom in domain.cdroms if cdrom.image}))


def parents_of_interest(
    domains: tuple[Domain, ...], images: Mapping[ImageRef, Image | None], begun: Collection[ImageRef]
) -> tuple[ImageRef, ...]:
    """Return the snapshots that are still needed for clones, sorted; a clone that was `begun` may be half-made."""
    return tuple(
        sorted(
            {
                disk.clone
                for domain in domains
                for disk in domain.disks
                if disk.clone
                and ((image := images.get(ref := disk.image.image)) is None or image.state or ref in begun)
            }
        )
    )


def pools_of_interest(domains: tuple[Domain, ...]) -> tuple[str, ...]:
    """Return the pools of the domains' disks, sorted."""
    return tuple(sorted({disk.image.pool for domain in domains for disk in domain.disks}))
