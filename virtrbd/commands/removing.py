"""What removals of all kinds share: their options, the plan, and its steps."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from virtrbd.commands.app import Run
from virtrbd.commands.image_session import Session
from virtrbd.commands.progress import showing_progress
from virtrbd.errors import ImageBusyError
from virtrbd.model.image import ImageRef

if TYPE_CHECKING:
    from virtrbd.model.hazard import Hazard
    from virtrbd.model.image_details import ImageDetails
    from virtrbd.planning.removal import RemovalPlan

PLAN = click.option("--plan", "only_plan", is_flag=True, help="Only say what would be done, and what keeps it.")
CLEAR = click.option("--clear", is_flag=True, help="Also do the steps that clear the way: flatten clones, unprotect.")


def require_details(session: Session, ref: ImageRef, image_id: str = "") -> "ImageDetails":
    """Return all of an image, its clones with their owners. Raises ClusterError when it is not there."""
    from virtrbd.ceph.children import with_owners
    from virtrbd.ceph.details import read_details
    from virtrbd.ceph.trash import missing_image_error

    details = read_details(session.host.cluster, ref, image_id)
    if details is None:
        raise missing_image_error(session.host.cluster, ref)
    return with_owners(session.host.cluster, details)


def plan_once_free(
    session: Session, make_plan: "Callable[[], RemovalPlan]", allowed: "frozenset[Hazard]", *, clear: bool
) -> "RemovalPlan":
    """Return the plan; one that only clients stand against which may have crashed is made again until they are gone."""
    from virtrbd.images.wait import once_free

    def look() -> "RemovalPlan":
        plan = make_plan()
        standing = plan.standing(clear=clear, allowed=allowed)
        if standing and all(blocker.lingers for blocker in standing):
            raise ImageBusyError(f"{plan.subject}: {'; '.join(each.text for each in standing)}", ())
        return plan

    try:
        return once_free(look, wait_s=session.host.settings.timeouts.watcher, say=session.host.say)
    except ImageBusyError:
        return make_plan()


def do_steps(run: Run, session: Session, plan: "RemovalPlan", progress: str, done: list[str]) -> None:
    """Do the steps, and add each to `done` once it is."""
    from virtrbd.images.remove import perform_step

    with showing_progress(run, progress, str(plan.subject)) as update:
        host = session.with_progress(update)
        for step in plan.steps:
            try:
                perform_step(host, step, plan.subject)
            except BaseException:
                for line in done:
                    session.host.say(f"{plan.subject}: {line}")
                raise
            done.append(step.done)
