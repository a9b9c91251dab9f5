"""The verb `image snapshot rollback`: take an image back to its state at a snapshot."""

from __future__ import annotations

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.allow import ALLOW, parse_allowed
from virtrbd.commands.options.images import SNAPSHOT, require_snapshot
from virtrbd.lazily import lazily

with lazily():
    from virtrbd.commands.connected.host import connected_for_images
    from virtrbd.images.change import roll_back
    from virtrbd.model.image import ImageRef


@verb
@SNAPSHOT
@ALLOW
def rollback(run: Run, ref: ImageRef, allow: tuple[str, ...]) -> None:
    """Take an image back to its state at a snapshot.

    After an interruption, run it again: no domain starts on the image before that.
    """
    require_snapshot(ref)
    with (
        connected_for_images(run, parse_allowed(allow)) as host,
        host.state.locked([str(ref.image)], "image snapshot rollback"),
    ):
        roll_back(host, host.known_uses(ref), ref)
    run.answer({"image": str(ref.image), "snapshot": str(ref)}, [f"{ref.image}: rolled back to {ref}"])
