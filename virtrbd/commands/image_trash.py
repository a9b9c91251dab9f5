"""The verbs about images in the trash: restore, trash list, trash purge."""

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from virtrbd.commands.app import ALLOW, Run, with_global_options
from virtrbd.commands.image_session import IMAGE, Session, image_session, require_plain
from virtrbd.commands.images import image
from virtrbd.commands.progress import PROGRESS
from virtrbd.commands.removing import CLEAR, PLAN, do_steps, plan_once_free, require_details
from virtrbd.commands.rooms import POOLS, Room, rooms_of, tell_others
from virtrbd.contained import contained
from virtrbd.errors import ClusterError, UsageError, VirtrbdError
from virtrbd.model.failure import failure_of
from virtrbd.model.image import ImageRef
from virtrbd.model.size import format_size
from virtrbd.printable import quoted, shell_command

if TYPE_CHECKING:
    from virtrbd.ceph.cluster import Cluster
    from virtrbd.model.hazard import Hazard
    from virtrbd.model.image_details import TrashEntry
    from virtrbd.planning.removal import RemovalPlan


@image.command()
@IMAGE
@click.option("--id", "image_id", default="", help="Which one, where several of that name are in the trash.")
@click.option("--as", "name", default="", help="Restore it under another name.")
@ALLOW
@with_global_options
def restore(run: Run, ref: ImageRef, image_id: str, name: str, allow: tuple[str, ...]) -> None:
    """Bring an image back from the trash."""
    from virtrbd.ceph.trash import list_trash, missing_image_error, restore_image
    from virtrbd.commands.pipeline import parse_allowed
    from virtrbd.images.change import refuse
    from virtrbd.planning.objections import owner_objections

    require_plain(ref)
    allowed = parse_allowed(allow)
    target = _renamed(ref, name)
    # Under its own name it may just be purged.
    names = sorted({str(ref), str(target)})
    with image_session(run) as session, session.host.state.locked(names, "image restore"):
        found = [
            entry
            for entry in list_trash(session.host.cluster, ref.pool, ref.namespace)
            if entry.ref == ref and image_id in ("", entry.image_id)
        ]
        if found and all(entry.source != "USER" for entry in found):
            # What mirroring or a migration put there is theirs to bring back.
            raise missing_image_error(session.host.cluster, ref)
        found = [entry for entry in found if entry.source == "USER"]
        if not found:
            raise ClusterError(
                f"image {ref} is not in the trash; see {shell_command('virtrbd image trash list', ref.room)}"
            )
        if len(found) > 1:
            ids = ", ".join(entry.image_id for entry in found)
            raise UsageError(f"{ref} is in the trash {len(found)} times; write --id with one of {ids}")
        details = require_details(session, ref, found[0].image_id)
        session.require_owner(details.image, allowed)
        refuse(ref, owner_objections(details.image, session.host.host_uuid), allowed)
        restore_image(session.host.cluster, found[0], target.name)
    run.answer({"image": str(target), "id": found[0].image_id}, [f"{target}: restored"])


def _renamed(ref: ImageRef, name: str) -> ImageRef:
    if not name:
        return ref
    renamed = ImageRef(pool=ref.pool, namespace=ref.namespace, name=name.removeprefix(f"{ref.room}/"))
    try:
        is_name = ImageRef.parse_new(str(renamed)) == renamed
    except ValueError:
        is_name = False
    if not is_name:
        raise UsageError(
            f"--as: {quoted(name)} is no name of an image in {ref.room}, where it comes back; write one like "
            f"{ref.name}-old"
        )
    return renamed


@image.group()
def trash() -> None:
    """Images that were moved to the trash."""


@trash.command(name="list")
@POOLS
@with_global_options
def list_trash_of(run: Run, pools: tuple[str, ...]) -> None:
    """List the trash of pools.

    Without a POOL it lists the default pool.
    """
    from virtrbd.ceph.cluster import Cluster
    from virtrbd.ceph.trash import list_trash
    from virtrbd.commands.image_info import iso_time, local_time
    from virtrbd.commands.output import table

    settings = run.settings()
    with Cluster.connect(settings) as cluster:
        rooms = rooms_of(pools, settings.ceph.pool)
        found = [e for pool, space in rooms for e in list_trash(cluster, pool, space)]
        sizes = _sizes(cluster, rooms, found)
        others = tell_others(run, cluster, rooms)
    data = [
        {
            "name": str(entry.ref),
            "id": entry.image_id,
            "size_bytes": sizes.get(entry.image_id),
            "source": entry.source,
            "deleted": iso_time(entry.deleted_at),
            "expires": iso_time(entry.expires_at),
        }
        for entry in found
    ]
    rows = [
        (
            str(entry.ref),
            entry.image_id,
            format_size(sizes[entry.image_id]) if entry.image_id in sizes else "unknown",
            entry.source,
            local_time(entry.deleted_at),
            local_time(entry.expires_at),
        )
        for entry in found
    ]
    lines = table(("image", "id", "size", "source", "deleted", "kept until"), rows) if rows else ["the trash is empty"]
    run.answer({"trash": data, "other_namespaces": others}, lines)


def _sizes(cluster: "Cluster", rooms: Sequence[Room], found: "Sequence[TrashEntry]") -> dict[str, int]:
    """Return the sizes by image id, as far as their headers tell."""
    from virtrbd.ceph.listing import read_headers

    sizes: dict[str, int] = {}
    for pool, namespace in rooms:
        ids = [entry.image_id for entry in found if (entry.ref.pool, entry.ref.namespace) == (pool, namespace)]
        headers = read_headers(cluster, ImageRef(pool=pool, namespace=namespace, name=""), ids)
        sizes |= {image_id: header.size_bytes for image_id, header in headers.items() if header}
    return sizes


@trash.command()
@POOLS
@click.option("--now", is_flag=True, help="Those too whose delay is not over; needs --allow loses-data.")
@CLEAR
@PLAN
@PROGRESS
@ALLOW
@with_global_options
def purge(
    run: Run,
    pools: tuple[str, ...],
    now: bool,
    clear: bool,
    only_plan: bool,
    progress: str,
    allow: tuple[str, ...],
) -> None:
    """Remove for good what has waited its time in the trash.

    What clones still need stays.
    """
    from virtrbd.commands.pipeline import parse_allowed

    allowed = parse_allowed(allow)
    lines: list[str] = []
    data: list[dict[str, Any]] = []
    with image_session(run) as session:
        rooms = rooms_of(pools, session.host.settings.ceph.pool)
        for entry in _due(session, rooms, now=now):
            done: list[str] = []
            data.append({"image": str(entry.ref), "id": entry.image_id, "done": done})
            run.so_far({"trash": data})
            try:
                with (
                    contained(f"{entry.ref} in the trash"),
                    session.host.state.locked([str(entry.ref)], "image trash purge"),
                ):
                    told, plan = _purge(run, session, entry, allowed, progress, done, clear=clear, only_plan=only_plan)
                data[-1] |= plan
            except VirtrbdError as error:
                # The others are purged all the same.
                told = list(error.messages)
                data[-1]["error"] = error.as_line
                run.end(error.exit_code)
                for line in failure_of(error).trace:
                    run.say(f"{entry.ref}: trace: {line}")
            lines += told
        others = tell_others(run, session.host.cluster, rooms)
    run.answer({"trash": data, "other_namespaces": others}, lines or ["nothing to purge"])


def _purge(
    run: Run,
    session: Session,
    entry: "TrashEntry",
    allowed: "frozenset[Hazard]",
    progress: str,
    done: list[str],
    *,
    clear: bool,
    only_plan: bool,
) -> tuple[list[str], dict[str, Any]]:
    """Purge one image, and return what there is to say of it in lines, and the plan as data."""
    from virtrbd.commands.removal_output import exit_code_of, plan_data, plan_lines

    make_plan = partial(_purge_plan, session, entry, allowed)
    plan = make_plan() if only_plan else plan_once_free(session, make_plan, allowed, clear=clear)
    standing = plan.standing(clear=clear, allowed=allowed)
    run.end(exit_code_of(standing))
    if standing or only_plan:
        return plan_lines(plan, standing), plan_data(plan)
    do_steps(run, session, plan, progress, done)
    return [f"{plan.subject}: {line}" for line in done], plan_data(plan)


def _due(session: Session, rooms: Sequence[Room], *, now: bool) -> "list[TrashEntry]":
    from virtrbd.ceph.trash import list_trash

    found = [entry for pool, space in rooms for entry in list_trash(session.host.cluster, pool, space)]
    # What mirroring or a migration put there is theirs to end.
    return [e for e in found if e.source == "USER" and (now or e.expires_at <= time.time())]


def _purge_plan(session: Session, entry: "TrashEntry", allowed: "frozenset[Hazard]") -> "RemovalPlan":
    from virtrbd.ceph.children import with_owners
    from virtrbd.ceph.details import read_details
    from virtrbd.ceph.trash import list_trash
    from virtrbd.planning.removal import RemovalPlan, RemoveImage, plan_purge

    cluster = session.host.cluster
    if all(other.image_id != entry.image_id for other in list_trash(cluster, entry.ref.pool, entry.ref.namespace)):
        raise ClusterError(f"{entry.ref}: is in the trash no more; restored, or purged by another run")
    details = read_details(cluster, entry.ref, entry.image_id)
    if details is None:
        # A removal that was cut off behind the header: only the rest is left to remove.
        rest = RemoveImage(ref=entry.ref, image_id=entry.image_id, is_in_trash=True)
        return RemovalPlan(subject=entry.ref, blockers=(), steps=(rest,))
    session.require_owner(details.image, allowed)
    return plan_purge(with_owners(cluster, details), session.host.host_uuid, is_expired=entry.expires_at <= time.time())
