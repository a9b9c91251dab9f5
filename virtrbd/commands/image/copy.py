"""The verb `image copy`: a new image that shares nothing with its source."""

from __future__ import annotations

from functools import partial

import click

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.images import IMAGE_TYPE, NEW_IMAGE_TYPE, require_plain
from virtrbd.commands.options.layout import LAYOUT, layout_of
from virtrbd.commands.options.progress import PROGRESS
from virtrbd.lazily import lazily

with lazily():
    from virtrbd.commands.connected.host import connected_for_images
    from virtrbd.commands.connected.intents import ALREADY_THERE, until_answered
    from virtrbd.commands.connected.sources import source_of
    from virtrbd.commands.output.progress import showing_progress
    from virtrbd.images.resume import fill_by_hand
    from virtrbd.images.transfer import copy_image
    from virtrbd.model.image import ImageRef
    from virtrbd.model.image_state import COPYING
    from virtrbd.model.size import format_size


@verb
@click.argument("source", metavar="IMAGE[@SNAPSHOT]", type=IMAGE_TYPE)
@click.argument("ref", metavar="NEW_IMAGE", type=NEW_IMAGE_TYPE)
@LAYOUT
@PROGRESS
def copy(run: Run, source: ImageRef, ref: ImageRef, progress: str, **layout: str) -> None:
    """Copy an image or a snapshot into a new image.

    The copy shares nothing with it.
    """
    require_plain(ref)
    wanted = layout_of(layout)
    with connected_for_images(run) as host, showing_progress(run, progress, str(ref)) as update:
        found = source_of(host, source)
        host = host.with_progress(update)
        fill = partial(copy_image, host, source, found.size_bytes, data_pool=wanted.data_pool)
        what = f"{source} {found.image_id}"
        was_there = fill_by_hand(host, ref, found.size_bytes, fill, wanted, word=COPYING, what=what)
    with until_answered(host.state, ref):
        run.answer_change(
            {"image": str(ref), "source": str(source), "size_bytes": found.size_bytes},
            [f"{ref}: {ALREADY_THERE if was_there else ''}copied from {source} ({format_size(found.size_bytes)})"],
            changed=not was_there,
        )
