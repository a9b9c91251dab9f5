"""The verb `image snapshot list`: the snapshots of an image."""

from __future__ import annotations

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.images import IMAGE, require_plain
from virtrbd.lazily import lazily

with lazily():
    from virtrbd.ceph.details import read_details
    from virtrbd.ceph.trash import missing_image_error
    from virtrbd.commands.connected.host import connected_for_images
    from virtrbd.commands.output.info import snapshot_data, snapshot_lines
    from virtrbd.model.image import ImageRef


@verb
@IMAGE
def list_snapshots(run: Run, ref: ImageRef) -> None:
    """List the snapshots of an image.

    Those of groups, mirrors and the trash are listed too.
    """
    require_plain(ref)
    with connected_for_images(run) as host:
        details = read_details(host.cluster, ref)
        if details is None:
            raise missing_image_error(host.cluster, ref)
    lines = snapshot_lines(details.snapshots) if details.snapshots else ["no snapshots"]
    run.answer({"image": str(ref), "snapshots": [snapshot_data(each) for each in details.snapshots]}, lines)
