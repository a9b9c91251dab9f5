"""The verb `image list`: the images of pools."""

from __future__ import annotations

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.pools import POOLS, rooms_of
from virtrbd.lazily import lazily
from virtrbd.model.record import replace

with lazily():
    from virtrbd.ceph.cluster import Cluster
    from virtrbd.ceph.listing import list_images as read
    from virtrbd.commands.connected.pools import show_others
    from virtrbd.commands.output.info import exact_size_of, iso_time, state_of
    from virtrbd.commands.output.table import table
    from virtrbd.commands.output.unread import show_unread
    from virtrbd.images.require import half_made
    from virtrbd.local.state_dir import StateDir
    from virtrbd.model.image_state import HalfMade


@verb
@POOLS
def list_images(run: Run, pools: tuple[str, ...]) -> None:
    """List the images of pools, with size and parent.

    Without a POOL it lists the default pool.
    """
    settings = run.settings()
    with Cluster.connect(settings) as cluster:
        rooms = rooms_of(pools, settings.ceph.pool)
        listings = [read(cluster, pool, space) for pool, space in rooms]
        others = show_others(run, cluster, rooms)
        listed = [each for listing in listings for each in listing.images]
        unmarked = [each.ref for each in listed if not (each.state or each.mark)]
        half = half_made(cluster, StateDir(settings.state_dir), unmarked)
    found = [replace(each, state=HalfMade()) if each.ref in half else each for each in listed]
    unread, unread_lines = show_unread(run, [each for listing in listings for each in listing.unread])
    data = [
        {
            "name": str(each.ref),
            "id": each.image_id,
            "size_bytes": each.size_bytes,
            "object_bytes": each.object_bytes,
            "features": list(each.features),
            "parent": str(each.parent) if each.parent else None,
            "snapshots": each.snapshots,
            "owner": each.mark.domain_uuid or None if each.mark else None,
            "owner_host": each.mark.host if each.mark else None,
            "owner_host_name": each.mark.host_name or None if each.mark else None,
            "state": state_of(each),
            "created": iso_time(each.created_at),
        }
        for each in found
    ]
    rows = [
        (
            str(each.ref),
            exact_size_of(each.size_bytes),
            str(each.parent or "-"),
            str(each.snapshots or "-"),
            ",".join(each.features),
            state_of(each),
        )
        for each in found
    ]
    lines = table(("image", "size", "parent", "snapshots", "features", "state"), rows) if rows else []
    lines += unread_lines
    run.answer({"images": data, "unread": unread, "other_namespaces": others}, lines or ["no images"])
