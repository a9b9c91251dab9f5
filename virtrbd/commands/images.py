"""The verbs about images: create, resize, info, list, usage."""

from dataclasses import replace

import click

from virtrbd.commands.app import ALLOW, Run, app, with_global_options
from virtrbd.commands.image_session import (
    ALREADY_THERE,
    IMAGE,
    NEW_IMAGE,
    SIZE_TYPE,
    image_session,
    require_plain,
    until_answered,
)
from virtrbd.commands.layout import LAYOUT, layout_of
from virtrbd.commands.rooms import POOLS, rooms_of, tell_others
from virtrbd.commands.verbs import Verbs
from virtrbd.model.image import ImageRef
from virtrbd.model.size import format_size

_VERBS = {
    "Make": {
        "create": "images",
        "import": "image_import",
        "clone": "image_snapshots",
        "copy": "image_transfers",
    },
    "Look": {"list": "images", "info": "images", "usage": "images", "unreferenced": "image_unreferenced"},
    "Change": {
        "resize": "images",
        "flatten": "image_snapshots",
        "snapshot": "image_snapshots",
        "repair": "image_repair",
    },
    "Take out": {
        "export": "image_transfers",
        "remove": "image_removal",
        "restore": "image_trash",
        "trash": "image_trash",
    },
}


@app.group(cls=Verbs, verbs=_VERBS)
def image() -> None:
    """Images in RBD, named pool[/namespace]/image[@snapshot]."""


@image.command()
@NEW_IMAGE
@click.argument("size", type=SIZE_TYPE)
@LAYOUT
@with_global_options
def create(run: Run, ref: ImageRef, size: int, **layout: str) -> None:
    """Create an empty image of SIZE, like 20G."""
    from virtrbd.images.resume import create_by_hand

    require_plain(ref)
    wanted = layout_of(layout)
    with image_session(run) as session:
        was_there = create_by_hand(session.host, ref, size, wanted)
    with until_answered(session.host.state, ref):
        run.answer_change(
            {"image": str(ref), "size_bytes": size},
            [f"{ref}: {ALREADY_THERE if was_there else ''}created ({format_size(size)})"],
            changed=not was_there,
        )


@image.command()
@IMAGE
@click.argument("size", type=SIZE_TYPE)
@ALLOW
@with_global_options
def resize(run: Run, ref: ImageRef, size: int, allow: tuple[str, ...]) -> None:
    """Grow an image to SIZE, also under a running guest.

    The guest is told. Images never shrink.
    """
    from virtrbd.commands.pipeline import parse_allowed
    from virtrbd.images.change import grow

    require_plain(ref)
    allowed = parse_allowed(allow)
    with image_session(run) as session, session.host.state.locked([str(ref)], "image resize"):
        uses = session.known_uses(ref, allowed)
        before, told = grow(session.host, session.hypervisor, uses, ref, size, allowed)
    done = {"image": str(ref), "from_bytes": before, "size_bytes": size, "told": told or None}
    grown = f"grown from {format_size(before)} to {format_size(size)}"
    line = f"{ref}: {f'is {format_size(size)} already' if before == size else grown}"
    lines = [line + (f", and domain {told} was told" if told else "")]
    if before != size:
        # Images never shrink, so a plan over a spec that says less would stop there.
        lines += [
            f"{use.name}: raise the disk's size in its spec too, if it states one"
            for use in uses or ()
            if use.uses(ref)
        ]
    run.answer_change(done, lines, changed=before != size or bool(told))


@image.command()
@IMAGE
@with_global_options
def info(run: Run, ref: ImageRef) -> None:
    """Show all about an image, or about one snapshot.

    That is its usage, watchers, parents, clones, owner and librbd's options.
    """
    from virtrbd.ceph.details import missing_snapshot, read_details
    from virtrbd.ceph.trash import missing_image_error
    from virtrbd.commands.image_info import info_data, info_lines, one_snapshot_lines, snapshot_data
    from virtrbd.images.require import known_as
    from virtrbd.model.image_details import SnapshotKind

    with image_session(run) as session:
        details = read_details(session.host.cluster, ref)
        if details is None:
            raise missing_image_error(session.host.cluster, ref)
        of_people = {each.name: each for each in details.snapshots if each.kind is SnapshotKind.USER}
        if ref.snapshot and ref.snapshot not in of_people:
            raise missing_snapshot(session.host.cluster, ref)
        details = replace(details, image=known_as(session.host, details.image))
        uses = session.uses() or ()
        limit = session.host.settings.ceph.clone_depth
    names_by_uuid = {use.uuid: use.name for use in uses}
    users = tuple(use.name for use in uses if use.uses(ref))
    users += tuple(f"{use.name} (perhaps: it cannot be read)" for use in uses if use.may_use(ref) or use.unknown)
    data, lines = info_data(details, names_by_uuid, users), info_lines(details, names_by_uuid, users, limit)
    if not ref.snapshot:
        run.answer({"image": data}, lines)
        return
    snapshot = of_people[ref.snapshot]
    run.answer({"image": data, "snapshot": snapshot_data(snapshot)}, one_snapshot_lines(ref, snapshot))


@image.command(name="list")
@POOLS
@with_global_options
def list_images(run: Run, pools: tuple[str, ...]) -> None:
    """List the images of pools, with size and parent.

    Without a POOL it lists the default pool.
    """
    from virtrbd.ceph.cluster import Cluster
    from virtrbd.ceph.listing import list_images as read
    from virtrbd.commands.image_info import exact_size_of, iso_time, state_of
    from virtrbd.commands.output import table
    from virtrbd.commands.unread import show_unread
    from virtrbd.images.require import half_made
    from virtrbd.local.state_dir import StateDir
    from virtrbd.planning.interrupted import HALF_MADE

    settings = run.settings()
    with Cluster.connect(settings) as cluster:
        rooms = rooms_of(pools, settings.ceph.pool)
        listings = [read(cluster, pool, space) for pool, space in rooms]
        others = tell_others(run, cluster, rooms)
        listed = [each for listing in listings for each in listing.images]
        unmarked = [each.ref for each in listed if not (each.state or each.mark)]
        half = half_made(cluster, StateDir(settings.state_dir), unmarked)
    found = [replace(each, state=HALF_MADE) if each.ref in half else each for each in listed]
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


@image.command()
@click.argument("names", metavar="[POOL[/NAMESPACE] | IMAGE]...", nargs=-1)
@with_global_options
def usage(run: Run, names: tuple[str, ...]) -> None:
    """Show how much space images and their snapshots take.

    Of a POOL it shows all images, else the IMAGE named pool/image.
    """
    from virtrbd.ceph.cluster import Cluster
    from virtrbd.ceph.usage import read_usages
    from virtrbd.commands.image_usage import refs_of, usage_data, usage_lines
    from virtrbd.commands.unread import show_unread
    from virtrbd.model.failure import Failure
    from virtrbd.model.image_details import UnreadImage

    settings = run.settings()
    with Cluster.connect(settings) as cluster:
        refs, unlisted = refs_of(cluster, names or (settings.ceph.pool,))
        read = read_usages(cluster, refs)
        pools = [name for name in names or (settings.ceph.pool,) if "/" not in name]
        others = tell_others(run, cluster, rooms_of(pools, settings.ceph.pool)) if pools else []
    found = {ref: usage for ref, usage in read.items() if not isinstance(usage, Failure)}
    failed = [UnreadImage(ref=ref, failure=each) for ref, each in read.items() if isinstance(each, Failure)]
    unread, unread_lines = show_unread(run, [*unlisted, *failed])
    data = {**usage_data(found), "unread": unread, "other_namespaces": others}
    run.answer(data, [*usage_lines(found), *unread_lines])
