"""The verb `image snapshot remove`: remove a snapshot."""

from __future__ import annotations

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.allow import ALLOW, parse_allowed
from virtrbd.commands.options.images import CLEAR, PLAN, SNAPSHOT, require_snapshot
from virtrbd.commands.options.progress import PROGRESS
from virtrbd.lazily import lazily

with lazily():
    from virtrbd.ceph.details import missing_snapshot
    from virtrbd.commands.connected.host import connected_for_images
    from virtrbd.commands.connected.removals import carry_out, require_details
    from virtrbd.model.image import ImageRef
    from virtrbd.planning.removal import RemovalPlan, plan_snapshot_removal


@verb
@SNAPSHOT
@CLEAR
@PLAN
@PROGRESS
@ALLOW
def remove_snapshot(
    run: Run, *, ref: ImageRef, clear: bool, only_plan: bool, progress: str, allow: tuple[str, ...]
) -> None:
    """Remove a snapshot, or show what keeps it.

    It names the command that clears each obstacle.
    """
    require_snapshot(ref)
    with (
        connected_for_images(run, parse_allowed(allow)) as host,
        host.state.locked([str(ref.image)], "image snapshot remove"),
    ):

        def plan() -> RemovalPlan:
            details = require_details(host, ref.image)
            uses = host.known_uses(ref)
            found = plan_snapshot_removal(details, ref.snapshot, uses, host.host_uuid)
            if found is None:
                raise missing_snapshot(host.cluster, ref)
            return found

        carry_out(run, host, plan, progress, clear=clear, only_plan=only_plan)
