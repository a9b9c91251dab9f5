"""The verbs that take images and snapshots away: remove, snapshot remove."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from virtrbd.commands.app import ALLOW, Run, with_global_options
from virtrbd.commands.image_session import (
    DURATION_TYPE,
    IMAGE,
    SNAPSHOT,
    Session,
    image_session,
    require_plain,
    require_snapshot,
)
from virtrbd.commands.image_snapshots import snapshot
from virtrbd.commands.images import image
from virtrbd.commands.progress import PROGRESS
from virtrbd.commands.removing import CLEAR, PLAN, do_steps, plan_once_free, require_details
from virtrbd.model.image import ImageRef

if TYPE_CHECKING:
    from virtrbd.model.hazard import Hazard
    from virtrbd.planning.removal import RemovalPlan


@image.command()
@IMAGE
@click.option(
    "--delay", type=DURATION_TYPE, default="14d", show_default=True, help="How long it waits in the trash, like 12h."
)
@click.option("--now", is_flag=True, help="Remove it for good, snapshots and all; needs --allow loses-data.")
@CLEAR
@PLAN
@PROGRESS
@ALLOW
@with_global_options
def remove(
    run: Run,
    ref: ImageRef,
    delay: float,
    now: bool,
    clear: bool,
    only_plan: bool,
    progress: str,
    allow: tuple[str, ...],
) -> None:
    """Move an image to the trash, or say what keeps it.

    It names the command that clears each obstacle.
    """
    from virtrbd.commands.pipeline import parse_allowed
    from virtrbd.planning.removal import plan_removal

    require_plain(ref)
    allowed = parse_allowed(allow)
    with image_session(run) as session, session.host.state.locked([str(ref)], "image remove"):

        def plan() -> "RemovalPlan":
            details = require_details(session, ref)
            uses = session.known_uses(ref, allowed)
            return plan_removal(details, uses, session.host.host_uuid, delay_s=None if now else delay)

        _carry_out(run, session, plan, allowed, progress, clear=clear, only_plan=only_plan)


@snapshot.command(name="remove")
@SNAPSHOT
@CLEAR
@PLAN
@PROGRESS
@ALLOW
@with_global_options
def remove_snapshot(
    run: Run, ref: ImageRef, clear: bool, only_plan: bool, progress: str, allow: tuple[str, ...]
) -> None:
    """Remove a snapshot, or say what keeps it.

    It names the command that clears each obstacle.
    """
    from virtrbd.ceph.details import missing_snapshot
    from virtrbd.commands.pipeline import parse_allowed
    from virtrbd.planning.removal import plan_snapshot_removal

    require_snapshot(ref)
    allowed = parse_allowed(allow)
    with image_session(run) as session, session.host.state.locked([str(ref.image)], "image snapshot remove"):

        def plan() -> "RemovalPlan":
            details = require_details(session, ref.image)
            uses = session.known_uses(ref, allowed)
            found = plan_snapshot_removal(details, ref.snapshot, uses, session.host.host_uuid)
            if found is None:
                raise missing_snapshot(session.host.cluster, ref)
            return found

        _carry_out(run, session, plan, allowed, progress, clear=clear, only_plan=only_plan)


def _carry_out(
    run: Run,
    session: Session,
    make_plan: "Callable[[], RemovalPlan]",
    allowed: "frozenset[Hazard]",
    progress: str,
    *,
    clear: bool,
    only_plan: bool,
) -> None:
    """Do the steps, unless something stands against them; either way say what there is and what was done."""
    from virtrbd.commands.removal_output import exit_code_of, plan_data, plan_lines

    plan = make_plan() if only_plan else plan_once_free(session, make_plan, allowed, clear=clear)
    standing = plan.standing(clear=clear, allowed=allowed)
    done: list[str] = []
    try:
        if not standing and not only_plan:
            do_steps(run, session, plan, progress, done)
    finally:
        data = {"image": str(plan.subject), **plan_data(plan), "done": done, "changed": bool(done)}
        run.so_far(data)
    if done:
        run.answer(data, [f"{plan.subject}: {line}" for line in done])
        return
    run.answer(data, plan_lines(plan, standing))
    run.end(exit_code_of(standing))
