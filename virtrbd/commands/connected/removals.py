"""Removals of all kinds: the plan, made again until clients that crashed are gone, and its execution."""

from collections.abc import Callable
from functools import partial

from virtrbd.ceph.children import with_owners
from virtrbd.ceph.details import read_details
from virtrbd.ceph.trash import missing_image_error
from virtrbd.commands.frame.run import Run
from virtrbd.commands.output.progress import showing_progress
from virtrbd.commands.output.removal import done_line, exit_code_of, plan_data, plan_lines
from virtrbd.engine.execute import execute_on_image
from virtrbd.images.host import Host
from virtrbd.images.remove import perform_removal, plan_once_free
from virtrbd.model.image import ImageRef
from virtrbd.model.image_details import ImageDetails
from virtrbd.planning.removal import RemovalPlan


def require_details(host: Host, ref: ImageRef, image_id: str = "") -> ImageDetails:
    """Return the details of an image, with the owners of its clones. Raises ClusterError when it does not exist."""
    details = read_details(host.cluster, ref, image_id)
    if details is None:
        raise missing_image_error(host.cluster, ref)
    return with_owners(host.cluster, details)


def do_steps(run: Run, host: Host, plan: RemovalPlan, progress: str, done: list[str]) -> None:
    """Do the steps, and add each to `done` once it is."""
    with showing_progress(run, progress, str(plan.subject)) as update:
        shown = host.with_progress(update)
        outcomes = execute_on_image(plan.subject, plan.steps, host.allowed, partial(perform_removal, host=shown))
        try:
            for action, _ in zip(plan.steps, outcomes, strict=True):
                done.append(done_line(action))
        except BaseException:
            for line in done:
                host.say(f"{plan.subject}: {line}")
            raise


def carry_out(
    run: Run,
    host: Host,
    make_plan: Callable[[], RemovalPlan],
    progress: str,
    *,
    clear: bool,
    only_plan: bool,
) -> None:
    """Do the steps, unless something prevents them; in either case report the plan and what was done."""
    plan = make_plan() if only_plan else plan_once_free(host, make_plan, host.allowed, clear=clear)
    standing = plan.standing(clear=clear, allowed=host.allowed)
    done: list[str] = []
    try:
        if not standing and not only_plan:
            do_steps(run, host, plan, progress, done)
    finally:
        data = {"image": str(plan.subject), **plan_data(plan), "done": done, "changed": bool(done)}
        run.so_far(data)
    if done:
        run.answer(data, [f"{plan.subject}: {line}" for line in done])
        return
    run.answer(data, plan_lines(plan, standing))
    run.end(exit_code_of(standing))
