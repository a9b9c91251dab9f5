"""The verb `image create`: an empty image."""

from __future__ import annotations

import click

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.images import NEW_IMAGE, require_plain
from virtrbd.commands.options.layout import LAYOUT, layout_of
from virtrbd.commands.options.types import SIZE_TYPE
from virtrbd.lazily import lazily

with lazily():
    from virtrbd.commands.connected.host import connected_for_images
    from virtrbd.commands.connected.intents import ALREADY_THERE, until_answered
    from virtrbd.images.resume import create_by_hand
    from virtrbd.model.image import ImageRef
    from virtrbd.model.size import format_size


@verb
@NEW_IMAGE
@click.argument("size", type=SIZE_TYPE)
@LAYOUT
def create(run: Run, ref: ImageRef, size: int, **layout: str) -> None:
    """Create an empty image of SIZE, like 20G."""
    require_plain(ref)
    wanted = layout_of(layout)
    with connected_for_images(run) as host:
        was_there = create_by_hand(host, ref, size, wanted)
    with until_answered(host.state, ref):
        run.answer_change(
            {"image": str(ref), "size_bytes": size},
            [f"{ref}: {ALREADY_THERE if was_there else ''}created ({format_size(size)})"],
            changed=not was_there,
        )
