"""An image on one screen."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from virtrbd.commands.output.table import table
from virtrbd.model.image import Image, ImageRef
from virtrbd.model.image_details import ImageDetails, ListedImage, Option, Snapshot
from virtrbd.model.size import format_size
from virtrbd.printable import cut, shell_command


def iso_time(seconds: float) -> str:
    """Return the time as programs read it, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def local_time(seconds: float) -> str:
    """Return the time as text, in the machine's own zone."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def state_of(image: Image | ListedImage) -> str:
    """Return the state of an image, "ready" for none."""
    if image.state:
        return str(image.state)
    return "migrating" if "migrating" in image.features else "ready"


def exact_size_of(size_bytes: int) -> str:
    """Return the size of an image, to the byte where it is not a multiple of 512: many programs refuse that."""
    return f"{size_bytes} B" if size_bytes % 512 else format_size(size_bytes)


def info_data(details: ImageDetails, names_by_uuid: Mapping[str, str], users: Sequence[str]) -> dict[str, Any]:
    """Return everything about the image for programs: sizes in bytes, times in UTC."""
    image, usage = details.image, details.usage
    return {
        "name": str(image.ref),
        "id": image.image_id,
        "size_bytes": image.size_bytes,
        "object_bytes": image.object_bytes,
        "allocated_bytes": image.allocated_bytes,
        "used_bytes": usage.used_bytes if usage else None,
        "total_used_bytes": usage.total_bytes if usage else None,
        "features": list(image.features),
        "flags": list(details.flags),
        "data_pool": details.data_pool or None,
        "data_prefix": details.data_prefix,
        "stripe_unit_bytes": details.stripe_unit_bytes,
        "stripe_count": details.stripe_count,
        "created": iso_time(image.created_at),
        "accessed": iso_time(details.accessed_at),
        "modified": iso_time(details.modified_at),
        "parent": str(image.parent) if image.parent else None,
        "parents": [str(parent) for parent in details.parents],
        "clone_format": details.clone_format or None,
        "overlap_bytes": details.overlap_bytes if image.parent else None,
        "snapshots": [snapshot_data(snapshot) for snapshot in details.snapshots],
        "children": [
            {"name": str(child.ref), "id": child.image_id, "in_trash": child.in_trash} for child in details.children
        ],
        "watchers": [str(watcher) for watcher in image.watchers],
        "lock": list(details.lock),
        "owner": image.mark.domain_uuid or None if image.mark else None,
        "owner_name": names_by_uuid.get(image.mark.domain_uuid) if image.mark else None,
        "owner_host": image.mark.host if image.mark else None,
        "owner_host_name": image.mark.host_name or None if image.mark else None,
        "used_by": list(users),
        "running_on": image.running_on or None,
        "last_run": _last_run_data(image),
        "state": state_of(image),
        "copied_state": details.copied_state or None,
        "mirroring": details.mirroring,
        "group": details.group or None,
        "options": [{"name": o.name, "value": o.value, "source": o.source} for o in details.options],
    }


def _last_run_data(image: Image) -> dict[str, Any] | None:
    run = image.last_run
    if run is None:
        return None
    started = iso_time(run.started_at) if run.started_at else None
    return {
        "host": run.host,
        "host_name": run.host_name or None,
        "domain": run.domain or None,
        "generation": run.generation,
        "started": started,
    }


def _last_run(image: Image) -> str:
    run = image.last_run
    if run is None:
        return "-"
    return f"on {run.host_label}" + (f" since {local_time(run.started_at)}" if run.started_at else "")


def snapshot_data(snapshot: Snapshot) -> dict[str, Any]:
    """Return the snapshot for programs."""
    return {
        "name": snapshot.name,
        "label": snapshot.label,
        "id": snapshot.snapshot_id,
        "kind": snapshot.kind.value,
        "size_bytes": snapshot.size_bytes,
        "used_bytes": snapshot.used_bytes,
        "protected": snapshot.protected,
        "created": iso_time(snapshot.created_at),
        "children": [str(child.ref) for child in snapshot.children],
    }


def info_lines(
    details: ImageDetails, names_by_uuid: Mapping[str, str], users: Sequence[str], depth_limit: int
) -> list[str]:
    """Return the screen as text."""
    image = details.image
    copied = f" (a mark copied from another image says: {details.copied_state})" if details.copied_state else ""
    pairs = {
        "id": image.image_id,
        "size": f"{exact_size_of(image.size_bytes)} in objects of {format_size(image.object_bytes)}",
        "used": _used(details),
        "parent": _parent(details, depth_limit),
        "owner": _owner(details, names_by_uuid),
        "used by": ", ".join(f"domain {name}" for name in users) or "no domain of this host",
        "last host": image.running_on_label or "-",
        "last run": _last_run(image),
        "open by": ", ".join(map(str, image.watchers)) or "no client",
        "lock": ", ".join(details.lock) or "-",
        "state": cut(state_of(image)) + copied,
        "features": ", ".join(image.features),
        "flags": _flags(details),
        "data": f"{details.data_prefix}{f' in pool {details.data_pool}' if details.data_pool else ''}",
        "created": local_time(image.created_at),
        "modified": local_time(details.modified_at),
        "options": ", ".join(f"{o.name}={cut(o.value)} ({o.source})" for o in _own(details.options))
        or "the cluster's own",
    }
    if details.stripe_count > 1:
        pairs["stripes"] = f"{format_size(details.stripe_unit_bytes)} over {details.stripe_count} objects"
    if details.mirroring:
        pairs["mirroring"] = "on"
    if details.group:
        pairs["group"] = details.group
    lines = _screen(image.ref, pairs)
    if details.snapshots:
        lines += ["", *snapshot_lines(details.snapshots)]
    if details.children:
        lines += ["", "clones: " + ", ".join(map(str, details.children))]
    return lines


def _flags(details: ImageDetails) -> str:
    if not details.flags:
        return "-"
    return f"{', '.join(details.flags)}; {shell_command('virtrbd image repair', details.image.ref)} rebuilds the map"


def one_snapshot_lines(ref: ImageRef, snapshot: Snapshot) -> list[str]:
    """Return a snapshot on a separate screen, as text."""
    return _screen(
        ref,
        {
            "id": str(snapshot.snapshot_id),
            "size": format_size(snapshot.size_bytes),
            "used": f"{_used_by(snapshot)} since the snapshot before it",
            "protected": "yes" if snapshot.protected else "no",
            "clones": ", ".join(map(str, snapshot.children)) or "-",
            "created": local_time(snapshot.created_at),
            "image": f"{ref.image} as it was then; {shell_command('virtrbd image info', ref.image)} shows it as it is",
        },
    )


def _screen(ref: ImageRef, pairs: Mapping[str, str]) -> list[str]:
    width = max(map(len, pairs))
    return [str(ref), *(f"  {key.ljust(width)}  {value}" for key, value in pairs.items())]


def _used_by(snapshot: Snapshot) -> str:
    return "unknown" if snapshot.used_bytes is None else format_size(snapshot.used_bytes)


def snapshot_lines(snapshots: Sequence[Snapshot]) -> list[str]:
    """Return a table of snapshots."""
    rows = [
        (
            snapshot.label,
            snapshot.kind.value,
            format_size(snapshot.size_bytes),
            _used_by(snapshot),
            "yes" if snapshot.protected else "no",
            str(len(snapshot.children)),
            local_time(snapshot.created_at),
        )
        for snapshot in snapshots
    ]
    return table(("snapshot", "kind", "size", "used", "protected", "clones", "created"), rows)


def _own(options: Sequence[Option]) -> list[Option]:
    """What was set for this pool or image: it overrides ceph.conf and QEMU's cache mode."""
    return [option for option in options if option.source != "config"]


def _used(details: ImageDetails) -> str:
    usage = details.usage
    if usage is None:
        return "unknown: no valid fast-diff (rbd object-map rebuild makes it again)"
    extra = f", {format_size(usage.total_bytes)} with snapshots" if usage.by_snapshot else ""
    return format_size(usage.used_bytes) + extra


def _parent(details: ImageDetails, depth_limit: int) -> str:
    if not details.parents:
        return "-"
    depth = len(details.parents)
    advice = f", over the limit of {depth_limit}: virtrbd image flatten" if depth > depth_limit else ""
    chain = " <- ".join(map(str, details.parents))
    return f"{chain} (clone v{details.clone_format}, depth {depth}{advice})"


def _owner(details: ImageDetails, names_by_uuid: Mapping[str, str]) -> str:
    mark = details.image.mark
    if mark is None:
        return "no owner that virtrbd knows"
    if not mark.domain_uuid:
        return f"made by hand on host {mark.host_label}"
    return f"domain {names_by_uuid.get(mark.domain_uuid, mark.domain_uuid)} of host {mark.host_label}"
