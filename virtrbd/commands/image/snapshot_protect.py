"""The verb `image snapshot protect`: a snapshot that cannot be removed."""

from __future__ import annotations

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.allow import ALLOW, parse_allowed
from virtrbd.commands.options.images import SNAPSHOT, require_snapshot
from virtrbd.lazily import lazily

with lazily():
    from virtrbd.ceph.snapshots import protect_snapshot
    from virtrbd.commands.connected.host import connected_for_images
    from virtrbd.images.change import require_ready
    from virtrbd.model.image import ImageRef


@verb
@SNAPSHOT
@ALLOW
def protect(run: Run, ref: ImageRef, allow: tuple[str, ...]) -> None:
    """Protect a snapshot from removal; clones v1 need that."""
    require_snapshot(ref)
    with (
        connected_for_images(run, parse_allowed(allow)) as host,
        host.state.locked([str(ref.image)], "image snapshot protect"),
    ):
        require_ready(host, ref)
        changed = protect_snapshot(host.cluster, ref)
    run.answer_change({"snapshot": str(ref)}, [f"{ref}: {'protected' if changed else 'is protected'}"], changed=changed)
