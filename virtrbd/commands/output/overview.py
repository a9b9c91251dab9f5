"""A report of a host and its pools, as text and as data."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from virtrbd.commands.output.image_tree import flatten_data, flatten_lines, image_id_of, tree_data
from virtrbd.commands.output.info import iso_time, local_time
from virtrbd.commands.output.table import table
from virtrbd.engine.overview import Overview
from virtrbd.model.family import FamilyImage
from virtrbd.model.overview import PoolGrowth, Reclaimable
from virtrbd.model.size import format_size

# Of which more are only counted, on a screen.
_MOST_NEEDS, _MOST_LARGEST = 30, 5


def overview_lines(found: Overview) -> list[str]:
    """Return the report for a terminal; the page has more."""
    lines = [f"host {found.host}, {local_time(found.made_at)}"]
    lines += [f"{what}: cannot be read: {failure.text}" for what, failure in found.failures.items()]
    lines += [f"domains: {domains_text(found)}", "", *_need_lines(found), ""]
    if found.pools:
        rows = [(pool.space.name, *_pool_cells(pool)) for pool in found.pools]
        lines += [*table(("pool", "stored", "left", "full", "growth"), rows), ""]
    largest = found.storage.largest[:_MOST_LARGEST]
    rows = [(str(image.ref), _size(image.size_bytes), _size(image.total_bytes)) for image in largest]
    lines += table(("largest images", "size", "takes"), rows) if rows else ["no images"]
    lines += ["", *_reclaimable_lines(found)]
    return [*lines, *flatten_lines(found.flattens)]


def domains_text(found: Overview) -> str:
    """Return how many domains are in which state."""
    if found.domains is None:
        return "unknown"
    counts = Counter(domain.state.value for domain in found.domains)
    return ", ".join(f"{count} {state}" for state, count in counts.most_common()) or "none"


def _need_lines(found: Overview) -> list[str]:
    if found.needs is None:
        return ["what waits for the operator is unknown"]
    if not found.needs:
        return ["nothing waits for the operator" if found.has_specs else "there is no folder of specs (spec_dir)"]
    lines = [f"{f'{need.domain}: ' if need.domain else ''}{need.kind}: {need.text}" for need in found.needs]
    more = len(lines) - _MOST_NEEDS
    return lines[:_MOST_NEEDS] + ([f"and {more} more; see virtrbd plan"] if more > 0 else [])


def _pool_cells(pool: PoolGrowth) -> tuple[str, ...]:
    space = pool.space
    return (format_size(space.stored_bytes), format_size(space.left_bytes), f"{space.share:.0%}", growth_text(pool))


def growth_text(pool: PoolGrowth) -> str:
    """Return how a pool grows, and when it is full at that rate."""
    if pool.bytes_a_day is None:
        return "not known yet"
    rate = f"{'-' if pool.bytes_a_day < 0 else '+'}{format_size(abs(int(pool.bytes_a_day)))} a day"
    if pool.full_in_days is None or pool.full_in_days > 3650:
        return rate
    return f"{rate}, full in {pool.full_in_days:.0f} days"


def _reclaimable_lines(found: Overview) -> Iterator[str]:
    for part, what in ((found.storage.trashed, "in the trash"), (found.storage.unused, "not used here")):
        if part is not None:
            yield f"{what}: {images_text(part)}"


def images_text(part: Reclaimable) -> str:
    """Return how many images may go, and what that frees."""
    count = "1 image" if len(part.images) == 1 else f"{len(part.images)} images"
    unknown = f", without {part.unknown} that do not say" if part.unknown else ""
    return f"{count}, up to {format_size(part.freed_bytes)}{unknown}"


def _size(size_bytes: int | None) -> str:
    return "unknown" if size_bytes is None else format_size(size_bytes)


def overview_data(found: Overview) -> dict[str, Any]:
    """Return the report for programs: sizes in bytes, times in UTC; what is unknown is null."""
    storage = found.storage
    return {
        "host": found.host,
        "made": iso_time(found.made_at),
        "domains": _domains_data(found),
        "needs": None
        if found.needs is None
        else [{"domain": need.domain or None, "kind": need.kind, "text": need.text} for need in found.needs],
        "pools": [_pool_data(pool) for pool in found.pools],
        "images": tree_data(found.tree),
        "flatten": flatten_data(found.flattens),
        "image_count": storage.image_count,
        "used_bytes": storage.used_bytes,
        "largest": [_image_data(image) for image in storage.largest],
        "trashed": _reclaimable_data(storage.trashed),
        "unused": _reclaimable_data(storage.unused) if storage.unused else None,
        "snapshots_by_age": [
            {"age": age.label, "count": age.count, "used_bytes": age.used_bytes, "unknown": age.unknown}
            for age in storage.ages
        ],
        "failures": [
            {"what": what, "error": failure.text, "exit_code": int(failure.exit_code)}
            for what, failure in found.failures.items()
        ],
    }


def _domains_data(found: Overview) -> list[dict[str, str]] | None:
    if found.domains is None:
        return None
    return [{"name": domain.name, "state": domain.state.value} for domain in found.domains]


def _pool_data(pool: PoolGrowth) -> dict[str, Any]:
    space = pool.space
    return {
        "name": space.name,
        "stored_bytes": space.stored_bytes,
        "left_bytes": space.left_bytes,
        "quota_bytes": space.quota_bytes or None,
        "share": round(space.share, 4),
        "bytes_a_day": None if pool.bytes_a_day is None else round(pool.bytes_a_day),
        "full_in_days": None if pool.full_in_days is None else round(pool.full_in_days, 1),
    }


def _image_data(image: FamilyImage) -> dict[str, Any]:
    return {
        "name": str(image.ref),
        "id": image_id_of(image),
        "size_bytes": image.size_bytes,
        "total_used_bytes": image.total_bytes,
    }


def _reclaimable_data(part: Reclaimable) -> dict[str, Any]:
    return {
        "images": [_image_data(image) for image in part.images],
        "freed_bytes": part.freed_bytes,
        "unknown": part.unknown,
    }
