"""The verb `image resize`: grow an image, also under a running guest."""

from __future__ import annotations

import click

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.allow import ALLOW, parse_allowed
from virtrbd.commands.options.images import IMAGE, require_plain
from virtrbd.commands.options.types import SIZE_TYPE
from virtrbd.lazily import lazily

with lazily():
    from virtrbd.commands.connected.host import connected_for_images
    from virtrbd.images.change import grow
    from virtrbd.model.image import ImageRef
    from virtrbd.model.size import format_size


@verb
@IMAGE
@click.argument("size", type=SIZE_TYPE)
@ALLOW
def resize(run: Run, ref: ImageRef, size: int, allow: tuple[str, ...]) -> None:
    """Grow an image to SIZE, also under a running guest.

    The guest sees the new size. Images never shrink.
    """
    require_plain(ref)
    with connected_for_images(run, parse_allowed(allow)) as host, host.state.locked([str(ref)], "image resize"):
        uses = host.known_uses(ref)
        growth = grow(host, uses, ref, size)
    before, seen_by = growth.from_bytes, growth.seen_by
    done = {"image": str(ref), "from_bytes": before, "size_bytes": size, "told": seen_by or None}
    grown = f"grown from {format_size(before)} to {format_size(size)}"
    line = f"{ref}: {f'is {format_size(size)} already' if before == size else grown}"
    lines = [line + (f", and domain {seen_by} sees the new size" if seen_by else "")]
    if before != size:
        # Images never shrink, so a plan over a spec with a smaller size would stop there.
        lines += [
            f"{use.name}: raise the disk's size in its spec too, if it states one"
            for use in uses or ()
            if use.uses(ref)
        ]
    run.answer_change(done, lines, changed=before != size or bool(seen_by))
