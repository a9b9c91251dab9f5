"""The verb `image snapshot create`: a new snapshot of an image."""

from __future__ import annotations

import click

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.allow import ALLOW, parse_allowed
from virtrbd.commands.options.images import NEW_SNAPSHOT, require_snapshot
from virtrbd.lazily import lazily

with lazily():
    from virtrbd.ceph.snapshots import create_snapshot as create
    from virtrbd.commands.connected.host import connected_for_images
    from virtrbd.images.change import require_ready
    from virtrbd.model.image import ImageRef


@verb
@NEW_SNAPSHOT
@click.option("--protect", is_flag=True, help="Protect it, which clones need unless the cluster makes clones v2.")
@ALLOW
def create_snapshot(run: Run, ref: ImageRef, protect: bool, allow: tuple[str, ...]) -> None:
    """Create the snapshot; one that exists is left as it is."""
    require_snapshot(ref)
    with (
        connected_for_images(run, parse_allowed(allow)) as host,
        host.state.locked([str(ref.image)], "image snapshot create"),
    ):
        require_ready(host, ref)
        created = create(host.cluster, ref.image, ref.snapshot, protect=protect)
    word = "created" if created else "exists already"
    run.answer_change({"snapshot": str(ref)}, [f"{ref}: {word}{', protected' if protect else ''}"], changed=created)
