"""The verb `image flatten`: copy into a clone what it shares with its parent."""

from __future__ import annotations

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.allow import ALLOW, parse_allowed
from virtrbd.commands.options.images import IMAGE, require_plain
from virtrbd.commands.options.progress import PROGRESS
from virtrbd.lazily import lazily

with lazily():
    from virtrbd.commands.connected.host import connected_for_images
    from virtrbd.commands.output.progress import showing_progress
    from virtrbd.images.change import flatten as part
    from virtrbd.images.change import require_ready
    from virtrbd.model.image import ImageRef


@verb
@IMAGE
@PROGRESS
@ALLOW
def flatten(run: Run, ref: ImageRef, progress: str, allow: tuple[str, ...]) -> None:
    """Copy into a clone what it shares with its parent.

    Afterwards the two are independent of each other.
    """
    require_plain(ref)
    with (
        connected_for_images(run, parse_allowed(allow)) as host,
        showing_progress(run, progress, str(ref)) as update,
        host.state.locked([str(ref)], "image flatten"),
    ):
        require_ready(host, ref)
        changed = part(host.with_progress(update), ref)
    line = f"{ref}: flattened" if changed else f"{ref}: has no parent"
    run.answer_change({"image": str(ref)}, [line], changed=changed)
