"""What images take, as table and as data."""

from collections.abc import Mapping, Sequence
from typing import Any

from virtrbd.ceph.cluster import Cluster
from virtrbd.ceph.listing import list_images
from virtrbd.commands.output import table
from virtrbd.errors import ClusterError, ConfigError, UsageError
from virtrbd.model.image import ImageRef
from virtrbd.model.image_details import ListedImage, Usage
from virtrbd.model.size import format_size
from virtrbd.printable import shell_command

_WITHOUT = "unknown: no valid fast-diff"


def refs_of(cluster: Cluster, names: Sequence[str]) -> list[ImageRef]:
    """Return the images that the names mean: all of a pool, or of pool/namespace where no image has that name.

    Raises UsageError, ClusterError.
    """
    refs: list[ImageRef] = []
    for name in names:
        pool, _, rest = name.partition("/")
        if not rest:
            refs += [image.ref for image in list_images(cluster, pool)]
            continue
        try:
            ref = ImageRef.parse(name)
        except ValueError as error:
            raise UsageError(str(error)) from None
        in_pool = [image.ref for image in list_images(cluster, pool, ref.namespace) if image.ref == ref.image]
        in_namespace = [] if in_pool or ref.namespace else _in_namespace(cluster, pool, rest)
        if not in_pool and not in_namespace:
            raise ClusterError(f"image {name} does not exist; see {shell_command('virtrbd image list', pool)}")
        refs += in_pool or [image.ref for image in in_namespace]
    return sorted(set(refs))


def _in_namespace(cluster: Cluster, pool: str, namespace: str) -> tuple[ListedImage, ...]:
    try:
        return list_images(cluster, pool, namespace)
    except ConfigError:
        # Whoever named an image that is not there meant no namespace.
        return ()


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
