"""The verb `image tree`: golden images, their snapshots, the clones of these, and the domains that use them."""

from __future__ import annotations

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.pools import POOLS, rooms_of
from virtrbd.lazily import lazily

with lazily():
    from virtrbd.ceph.families import read_families
    from virtrbd.commands.connected.host import connected_for_images
    from virtrbd.commands.connected.pools import show_others
    from virtrbd.commands.output.image_tree import flatten_data, flatten_lines, tree_data, tree_lines
    from virtrbd.commands.output.printing import draws_lines
    from virtrbd.commands.output.unread import show_unread, show_unread_pools
    from virtrbd.model.image_details import UnreadImage
    from virtrbd.planning.flattens import helpful_flattens
    from virtrbd.planning.image_tree import depths, make_tree


@verb
@POOLS
def tree(run: Run, pools: tuple[str, ...]) -> None:
    """Show images with their snapshots, clones and domains as a tree.

    It shows what each adds, and where a flatten would help.
    """
    with connected_for_images(run) as host:
        rooms = rooms_of(pools, host.settings.ceph.pool)
        families = read_families(host.cluster, rooms)
        uses = host.uses()
        others = show_others(run, host.cluster, [each for each in rooms if each[0] not in families.unread_pools])
        host_uuid, clone_depth = host.host_uuid, host.settings.ceph.clone_depth
    if uses is None:
        run.say("libvirt does not answer, so which domains use the images is unknown")
    unknown = [use for use in uses or () if use.unknown]
    for use in unknown:
        run.say(f"{use.name}: {'; '.join(use.unknown)} cannot be read; it may use any of these images")
    roots = make_tree(families, uses)
    flattens = helpful_flattens(families, depths(roots), uses, host_uuid, clone_depth)
    failed = [
        UnreadImage(ref=image.ref, image_id=image.key.image_id, failure=image.failure)
        for image in families.images.values()
        # A parent in a pool that this user may not read is in the tree with the reason.
        if image.failure and image.is_listed
    ]
    unread, unread_lines = show_unread(run, sorted(failed, key=lambda each: (each.ref, each.image_id)))
    unread_pools, pool_lines = show_unread_pools(run, families.unread_pools)
    cut = ["there are more generations outside of these pools than were looked at"] if families.is_cut else []
    lines = tree_lines(roots, drawn=draws_lines()) or ["no images"]
    advice = flatten_lines(flattens)
    run.answer(
        {
            "images": tree_data(roots),
            "flatten": flatten_data(flattens),
            "unread": unread,
            "unread_pools": unread_pools,
            "unread_domains": None if uses is None else [use.name for use in unknown],
            "cut": families.is_cut,
            "other_namespaces": others,
        },
        [*lines, *([""] if advice else []), *advice, *cut, *unread_lines, *pool_lines],
    )
