"""What images take, as table and as data."""

from collections.abc import Mapping, Sequence
from typing import Any

from virtrbd.ceph.cluster import Cluster
from virtrbd.ceph.listing import list_images
from virtrbd.commands.output import table
from virtrbd.commands.rooms import rooms_of
from virtrbd.errors import ClusterError, ConfigError, UsageError
from virtrbd.model.image import ImageRef
from virtrbd.model.image_details import Listing, UnreadImage, Usage
from virtrbd.model.size import format_size
from virtrbd.printable import shell_command

_WITHOUT = "unknown: no valid fast-diff"


def refs_of(cluster: Cluster, names: Sequence[str]) -> tuple[list[ImageRef], list[UnreadImage]]:
    """Return the images that the names mean, and those among them that cannot be read: all of a pool, or of
    pool/namespace where no image has that name.

    Raises UsageError, ClusterError.
    """
    refs: set[ImageRef] = set()
    unread: dict[ImageRef, UnreadImage] = {}

    def take(listing: Listing) -> None:
        refs.update(image.ref for image in listing.images)
        unread.update({image.ref: image for image in listing.unread})

    for name in names:
        pool, _, rest = name.partition("/")
        if not rest:
            rooms_of((name,), "")
            take(list_images(cluster, pool))
            continue
        try:
            ref = ImageRef.parse(name)
        except ValueError as error:
            raise UsageError(str(error)) from None
        found = _only(list_images(cluster, pool, ref.namespace), ref.image)
        if found == Listing() and not ref.namespace:
            found = _in_namespace(cluster, pool, rest)
        if found == Listing():
            raise ClusterError(f"image {name} does not exist; see {shell_command('virtrbd image list', pool)}")
        take(found)
    return sorted(refs), [unread[ref] for ref in sorted(unread)]


def _only(listing: Listing, ref: ImageRef) -> Listing:
    """Return what the listing says of one image."""
    return Listing(
        images=tuple(image for image in listing.images if image.ref == ref),
        unread=tuple(image for image in listing.unread if image.ref == ref),
    )


def _in_namespace(cluster: Cluster, pool: str, namespace: str) -> Listing:
    try:
        return list_images(cluster, pool, namespace)
    except ConfigError:
        # Whoever named an image that is not there meant no namespace.
        return Listing()


def usage_data(found: Mapping[ImageRef, Usage | None]) -> dict[str, Any]:
    """Return the usage for programs, in bytes; null where it can't be told."""
    known = [usage for usage in found.values() if usage]
    return {
        "images": [
            {
                "name": str(ref),
                "size_bytes": usage.size_bytes if usage else None,
                "used_bytes": usage.used_bytes if usage else None,
                "snapshots": dict(usage.by_snapshot) if usage else None,
                "total_used_bytes": usage.total_bytes if usage else None,
            }
            for ref, usage in sorted(found.items())
        ],
        "total_used_bytes": sum(usage.total_bytes for usage in known),
        "without_fast_diff": [str(ref) for ref, usage in sorted(found.items()) if usage is None],
    }


def usage_lines(found: Mapping[ImageRef, Usage | None]) -> list[str]:
    """Return the table for a person, with a last line for all."""
    if not found:
        return ["no images"]
    rows = [
        (str(ref), *map(format_size, (usage.size_bytes, usage.used_bytes, sum(usage.by_snapshot.values()))))
        if usage
        else (str(ref), "-", _WITHOUT, "-")
        for ref, usage in sorted(found.items())
    ]
    known = [usage for usage in found.values() if usage]
    total = sum(usage.total_bytes for usage in known)
    missing = len(found) - len(known)
    count = "1 image" if len(found) == 1 else f"{len(found)} images"
    note = f", without {missing} that have no valid fast-diff" if missing else ""
    return [*table(("image", "size", "used", "snapshots"), rows), f"{count}, {format_size(total)}{note}"]
