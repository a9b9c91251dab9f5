"""The verb `image clone`: new images that share what they can with a snapshot."""

from __future__ import annotations

import click

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.images import IMAGE_TYPE, NEW_IMAGE_TYPE, require_plain, require_snapshot
from virtrbd.errors import UsageError
from virtrbd.lazily import lazily
from virtrbd.printable import shell_command

with lazily():
    from virtrbd.ceph.details import read_parents
    from virtrbd.commands.connected.host import connected_for_images
    from virtrbd.commands.connected.intents import ALREADY_THERE
    from virtrbd.images.clone import clone_by_hand
    from virtrbd.images.host import Host
    from virtrbd.model.image import ImageRef


@verb
@click.argument("parent", metavar="IMAGE@SNAPSHOT", type=IMAGE_TYPE)
@click.argument("refs", metavar="NEW_IMAGE...", type=NEW_IMAGE_TYPE, nargs=-1, required=True)
def clone(run: Run, parent: ImageRef, refs: tuple[ImageRef, ...]) -> None:
    """Clone a snapshot to each of the names.

    After an interruption, run it again: it makes the missing clones.
    """
    require_snapshot(parent)
    for ref in refs:
        require_plain(ref)
    if len(set(refs)) < len(refs):
        raise UsageError("the same name twice; give each clone its own")
    with connected_for_images(run) as host:
        there = clone_by_hand(host, parent, refs)
        _advise_flatten(host, refs[0])
    data = {
        "parent": str(parent),
        "images": [str(ref) for ref in refs],
        "already_there": [str(ref) for ref in there],
    }
    lines = [f"{ref}: {ALREADY_THERE if ref in there else ''}cloned from {parent}" for ref in refs]
    run.answer_change(data, lines, changed=len(there) < len(refs))


def _advise_flatten(host: Host, ref: ImageRef) -> None:
    depth, limit = len(read_parents(host.cluster, ref)), host.settings.ceph.clone_depth
    if depth > limit:
        host.say(
            f"{ref}: {depth} images deep, over the limit of {limit}: each read may go through all of them; "
            f"{shell_command('virtrbd image flatten', ref)} ends that"
        )
