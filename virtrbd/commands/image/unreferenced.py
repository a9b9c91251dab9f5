"""The verb `image unreferenced`: what no domain of this host uses."""

from __future__ import annotations

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.pools import POOLS, rooms_of
from virtrbd.errors import ExitCode, UnavailableError
from virtrbd.lazily import lazily

with lazily():
    from virtrbd.commands.connected.host import connected_for_images
    from virtrbd.commands.connected.pools import show_others
    from virtrbd.commands.output.info import iso_time
    from virtrbd.commands.output.table import table
    from virtrbd.commands.output.unread import show_unread
    from virtrbd.images.unreferenced import find_unreferenced
    from virtrbd.model.size import format_size
    from virtrbd.planning.unreferenced import Unreferenced, Verdict


@verb
@POOLS
def unreferenced(run: Run, pools: tuple[str, ...]) -> None:
    """Report images that no domain of this host uses.

    It shows what removing them would free, and removes nothing.
    """
    with connected_for_images(run) as host:
        uses = host.uses()
        if uses is None:
            raise UnavailableError("libvirt does not answer, so what its domains use is unknown; start libvirtd")
        rooms = rooms_of(pools, host.settings.ceph.pool)
        found, failed = find_unreferenced(host.cluster, rooms, uses, host.host_uuid)
        others = show_others(run, host.cluster, rooms)
    held = {Verdict.ELSEWHERE, Verdict.GROUPED, Verdict.MIRRORED, Verdict.LOCKED, Verdict.MIGRATING}
    ours = [each for each in found if each.verdict not in held]
    freed = sum(each.reclaimable_bytes or 0 for each in ours)
    unread, unread_lines = show_unread(run, failed)
    unknown = [use for use in uses if use.unknown]
    for use in unknown:
        run.say(f"{use.name}: {'; '.join(use.unknown)} cannot be read; it may use any of these images")
    lines = _lines(found, freed, host.host_uuid) if found else []
    data = {"images": [_data(each) for each in found], "reclaimable_bytes": freed}
    more = {"unread": unread, "unread_domains": [use.name for use in unknown], "other_namespaces": others}
    run.answer({**data, **more}, [*lines, *unread_lines] or ["every image is used"])
    run.end(ExitCode.FAILED if unknown else ExitCode.OK)


def _data(each: Unreferenced) -> dict[str, object]:
    return {
        "name": str(each.ref),
        "id": each.image_id,
        "verdict": each.verdict.value,
        "reclaimable_bytes": each.reclaimable_bytes,
        "owner": each.owner or None,
        "owner_host": each.host or None,
        "owner_host_name": each.host_name or None,
        "expires": iso_time(each.expires_at) if each.expires_at is not None else None,
    }


def _lines(found: tuple[Unreferenced, ...], freed: int, host_uuid: str) -> list[str]:
    rows = [
        (
            str(each.ref),
            each.verdict.value,
            "unknown" if each.reclaimable_bytes is None else format_size(each.reclaimable_bytes),
            each.owner or "-",
            "this one" if each.host == host_uuid else each.host_label or "-",
        )
        for each in found
    ]
    total = (
        f"{format_size(freed)} could be freed here; look at what belongs to another host on that host, and at what RBD "
        f"itself holds with `virtrbd image info`"
    )
    return [*table(("image", "verdict", "reclaimable", "owner (domain)", "host"), rows), total]
