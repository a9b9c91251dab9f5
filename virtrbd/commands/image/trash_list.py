"""The verb `image trash list`: what is in the trash of pools."""

from __future__ import annotations

from collections.abc import Sequence

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.pools import POOLS, Room, rooms_of
from virtrbd.lazily import lazily

with lazily():
    from virtrbd.ceph.cluster import Cluster
    from virtrbd.ceph.listing import read_headers
    from virtrbd.ceph.trash import list_trash
    from virtrbd.commands.connected.pools import show_others
    from virtrbd.commands.output.info import iso_time, local_time
    from virtrbd.commands.output.table import table
    from virtrbd.model.image import ImageRef
    from virtrbd.model.image_details import TrashEntry
    from virtrbd.model.size import format_size


@verb
@POOLS
def list_trash_of(run: Run, pools: tuple[str, ...]) -> None:
    """List the trash of pools.

    Without a POOL it lists the default pool.
    """
    settings = run.settings()
    with Cluster.connect(settings) as cluster:
        rooms = rooms_of(pools, settings.ceph.pool)
        found = [e for pool, space in rooms for e in list_trash(cluster, pool, space)]
        sizes = _sizes(cluster, rooms, found)
        others = show_others(run, cluster, rooms)
    data = [
        {
            "name": str(entry.ref),
            "id": entry.image_id,
            "size_bytes": sizes.get(entry.image_id),
            "source": entry.source,
            "deleted": iso_time(entry.deleted_at),
            "expires": iso_time(entry.expires_at),
        }
        for entry in found
    ]
    rows = [
        (
            str(entry.ref),
            entry.image_id,
            format_size(sizes[entry.image_id]) if entry.image_id in sizes else "unknown",
            entry.source,
            local_time(entry.deleted_at),
            local_time(entry.expires_at),
        )
        for entry in found
    ]
    lines = table(("image", "id", "size", "source", "deleted", "kept until"), rows) if rows else ["the trash is empty"]
    run.answer({"trash": data, "other_namespaces": others}, lines)


def _sizes(cluster: Cluster, rooms: Sequence[Room], found: Sequence[TrashEntry]) -> dict[str, int]:
    """Return the sizes by image id, as far as their headers have them."""
    sizes: dict[str, int] = {}
    for pool, namespace in rooms:
        ids = [entry.image_id for entry in found if (entry.ref.pool, entry.ref.namespace) == (pool, namespace)]
        headers = read_headers(cluster, ImageRef(pool=pool, namespace=namespace, name=""), ids)
        sizes |= {image_id: header.size_bytes for image_id, header in headers.items() if header}
    return sizes
