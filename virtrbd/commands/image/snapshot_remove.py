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
    from virtrbd.commands.connected.images import image_session
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
    run: Run, ref: ImageRef, clear: bool, only_plan: bool, progress: str, allow: tuple[str, ...]
) -> None:
    """Remove a snapshot, or show what keeps it.

    It names the command that clears each obstacle.
    """
    require_snapshot(ref)
    allowed = parse_allowed(allow)
    with image_session(run) as session, session.host.state.locked([str(ref.image)], "image snapshot remove"):

        def plan() -> RemovalPlan:
            details = require_details(session, ref.image)
            uses = session.known_uses(ref, allowed)
            found = plan_snapshot_removal(details, ref.snapshot, uses, session.host.host_uuid)
            if found is None:
                raise missing_snapshot(session.host.cluster, ref)
            return found

        carry_out(run, session, plan, allowed, progress, clear=clear, only_plan=only_plan)
