"""The verb `image trash purge`: remove the images in the trash whose delay is over."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import click

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.allow import ALLOW, parse_allowed
from virtrbd.commands.options.images import CLEAR, PLAN
from virtrbd.commands.options.pools import POOLS, Room, rooms_of
from virtrbd.commands.options.progress import PROGRESS
from virtrbd.errors import ClusterError, VirtrbdError
from virtrbd.lazily import lazily

with lazily():
    from virtrbd.ceph.children import with_owners
    from virtrbd.ceph.details import read_details
    from virtrbd.ceph.trash import list_trash
    from virtrbd.commands.connected.host import connected_for_images
    from virtrbd.commands.connected.pools import show_others
    from virtrbd.commands.connected.removals import do_steps
    from virtrbd.commands.output.removal import exit_code_of, plan_data, plan_lines
    from virtrbd.contained import contained
    from virtrbd.images.host import Host
    from virtrbd.images.remove import plan_once_free
    from virtrbd.model.failure import failure_of
    from virtrbd.model.image_details import TrashEntry
    from virtrbd.model.removal_actions import RemoveImage
    from virtrbd.planning.removal import RemovalPlan, plan_purge


@verb
@POOLS
@click.option("--now", is_flag=True, help="Also images whose delay is not over; needs --allow loses-data.")
@CLEAR
@PLAN
@PROGRESS
@ALLOW
def purge(
    run: Run,
    *,
    pools: tuple[str, ...],
    now: bool,
    clear: bool,
    only_plan: bool,
    progress: str,
    allow: tuple[str, ...],
) -> None:
    """Remove the images in the trash whose delay is over.

    Images that clones still need are kept.
    """
    lines: list[str] = []
    data: list[dict[str, Any]] = []
    with connected_for_images(run, parse_allowed(allow)) as host:
        rooms = rooms_of(pools, host.settings.ceph.pool)
        for entry in _due(host, rooms, now=now):
            done: list[str] = []
            data.append({"image": str(entry.ref), "id": entry.image_id, "done": done})
            run.so_far({"trash": data})
            try:
                with (
                    contained(f"{entry.ref} in the trash"),
                    host.state.locked([str(entry.ref)], "image trash purge"),
                ):
                    said, plan = _purge(run, host, entry, progress, done, clear=clear, only_plan=only_plan)
                data[-1] |= plan
            except VirtrbdError as error:
                # The others are still purged.
                said = list(error.messages)
                data[-1]["error"] = error.as_line
                run.end(error.exit_code)
                for line in failure_of(error).trace:
                    run.say(f"{entry.ref}: trace: {line}")
            lines += said
        others = show_others(run, host.cluster, rooms)
    run.answer({"trash": data, "other_namespaces": others}, lines or ["nothing to purge"])


def _purge(
    run: Run,
    host: Host,
    entry: TrashEntry,
    progress: str,
    done: list[str],
    *,
    clear: bool,
    only_plan: bool,
) -> tuple[list[str], dict[str, Any]]:
    """Purge one image, and return its lines, and the plan as data."""
    make_plan = partial(_purge_plan, host, entry)
    plan = make_plan() if only_plan else plan_once_free(host, make_plan, host.allowed, clear=clear)
    standing = plan.standing(clear=clear, allowed=host.allowed)
    run.end(exit_code_of(standing))
    if standing or only_plan:
        return plan_lines(plan, standing), plan_data(plan)
    do_steps(run, host, plan, progress, done)
    return [f"{plan.subject}: {line}" for line in done], plan_data(plan)


def _due(host: Host, rooms: Sequence[Room], *, now: bool) -> list[TrashEntry]:
    found = [entry for pool, space in rooms for entry in list_trash(host.cluster, pool, space)]
    # Only mirroring or a migration may end what they moved there.
    return [e for e in found if e.source == "USER" and (now or e.expires_at <= time.time())]


def _purge_plan(host: Host, entry: TrashEntry) -> RemovalPlan:
    cluster = host.cluster
    if all(other.image_id != entry.image_id for other in list_trash(cluster, entry.ref.pool, entry.ref.namespace)):
        raise ClusterError(f"{entry.ref}: is no longer in the trash; another run restored or purged it")
    details = read_details(cluster, entry.ref, entry.image_id)
    if details is None:
        # A removal that was interrupted after the header: only the rest is left to remove.
        rest = RemoveImage(ref=entry.ref, image_id=entry.image_id, is_in_trash=True)
        return RemovalPlan(subject=entry.ref, steps=(rest,))
    host.require_owner(details.image)
    return plan_purge(with_owners(cluster, details), host.host_uuid, is_expired=entry.expires_at <= time.time())
