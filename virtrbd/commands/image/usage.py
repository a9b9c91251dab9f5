"""The verb `image usage`: how much space images and their snapshots take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.pools import rooms_of
from virtrbd.errors import ClusterError, ConfigError, UsageError
from virtrbd.lazily import lazily
from virtrbd.printable import shell_command

with lazily():
    from virtrbd.ceph.cluster import Cluster
    from virtrbd.ceph.listing import list_images
    from virtrbd.ceph.usage import read_usages
    from virtrbd.commands.connected.pools import show_others
    from virtrbd.commands.output.table import table
    from virtrbd.commands.output.unread import show_unread
    from virtrbd.model.failure import Failure
    from virtrbd.model.image import ImageRef
    from virtrbd.model.image_details import Listing, UnreadImage, Usage
    from virtrbd.model.size import format_size


_WITHOUT = "unknown: no valid fast-diff"


@verb
@click.argument("names", metavar="[POOL[/NAMESPACE] | IMAGE]...", nargs=-1)
def usage(run: Run, names: tuple[str, ...]) -> None:
    """Show how much space images and their snapshots take.

    Of a POOL it shows all images, else the IMAGE named pool/image.
    """
    settings = run.settings()
    with Cluster.connect(settings) as cluster:
        refs, unlisted = refs_of(cluster, names or (settings.ceph.pool,))
        read = read_usages(cluster, refs)
        pools = [name for name in names or (settings.ceph.pool,) if "/" not in name]
        others = show_others(run, cluster, rooms_of(pools, settings.ceph.pool)) if pools else []
    found = {ref: usage for ref, usage in read.items() if not isinstance(usage, Failure)}
    failed = [UnreadImage(ref=ref, failure=each) for ref, each in read.items() if isinstance(each, Failure)]
    unread, unread_lines = show_unread(run, [*unlisted, *failed])
    data = {**usage_data(found), "unread": unread, "other_namespaces": others}
    run.answer(data, [*usage_lines(found), *unread_lines])


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
        # The operator named an image that does not exist, not a namespace.
        return Listing()


def usage_data(found: Mapping[ImageRef, Usage | None]) -> dict[str, Any]:
    """Return the usage for programs, in bytes; null where unknown."""
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
    """Return the table, with a last line for all."""
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
