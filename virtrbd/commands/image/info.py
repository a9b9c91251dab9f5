"""The verb `image info`: everything about an image, or about one snapshot."""

from __future__ import annotations

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.images import IMAGE
from virtrbd.lazily import lazily
from virtrbd.model.record import replace

with lazily():
    from virtrbd.ceph.details import missing_snapshot, read_details
    from virtrbd.ceph.trash import missing_image_error
    from virtrbd.commands.connected.host import connected_for_images
    from virtrbd.commands.output.info import info_data, info_lines, one_snapshot_lines, snapshot_data
    from virtrbd.images.require import known_as
    from virtrbd.model.image import ImageRef
    from virtrbd.model.image_details import SnapshotKind


@verb
@IMAGE
def info(run: Run, ref: ImageRef) -> None:
    """Show everything about an image, or about one snapshot.

    That is its usage, watchers, parents, clones, owner and librbd's options.
    """
    with connected_for_images(run) as host:
        details = read_details(host.cluster, ref)
        if details is None:
            raise missing_image_error(host.cluster, ref)
        of_people = {each.name: each for each in details.snapshots if each.kind is SnapshotKind.USER}
        if ref.snapshot and ref.snapshot not in of_people:
            raise missing_snapshot(host.cluster, ref)
        details = replace(details, image=known_as(host, details.image))
        uses = host.uses() or ()
        limit = host.settings.ceph.clone_depth
    names_by_uuid = {use.uuid: use.name for use in uses}
    users = tuple(use.name for use in uses if use.uses(ref))
    users += tuple(f"{use.name} (perhaps: it cannot be read)" for use in uses if use.may_use(ref) or use.unknown)
    data, lines = info_data(details, names_by_uuid, users), info_lines(details, names_by_uuid, users, limit)
    if not ref.snapshot:
        run.answer({"image": data}, lines)
        return
    snapshot = of_people[ref.snapshot]
    run.answer({"image": data, "snapshot": snapshot_data(snapshot)}, one_snapshot_lines(ref, snapshot))
