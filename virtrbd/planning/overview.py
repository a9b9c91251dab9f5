"""What a report of a host and its pools says: from a plan, and from the images and their users. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from virtrbd.model.family import Families, FamilyImage
from virtrbd.model.image import ImageRef
from virtrbd.model.image_use import DomainUse
from virtrbd.model.overview import Age, Need, Reclaimable, SnapshotOf, Storage
from virtrbd.model.plan import DomainPlan, Plan
from virtrbd.planning.image_tree import names_by_image

FAILED, BLOCKED, PENDING = "failed", "blocked", "next run"
_DAY_S = 86_400.0
_AGES = (
    ("under a day", 1),
    ("1 to 7 days", 7),
    ("7 to 30 days", 30),
    ("30 to 90 days", 90),
    ("90 days to a year", 365),
)
_OLDER = "over a year"
_MOST_IMAGES, _MOST_SNAPSHOTS = 15, 10


def needs_of(plan: Plan) -> tuple[Need, ...]:
    """Return what waits in a plan: what failed, what is blocked, the findings, and what the next run does."""
    found = [need for domain in plan.domains for need in _needs(domain)]
    if plan.stopped:
        found.append(Need(domain="", kind=BLOCKED, text=plan.stopped))
    return tuple(sorted(found, key=_rank))


def _rank(need: Need) -> tuple[int, str, str]:
    ranks = {FAILED: 0, BLOCKED: 1, PENDING: 3}
    return (ranks.get(need.kind, 2), need.domain, need.text)


def _needs(domain: DomainPlan) -> Iterator[Need]:
    def need(kind: str, text: str) -> Need:
        return Need(domain=domain.name, kind=kind, text=text)

    yield from (need(FAILED, failure.text) for failure in domain.failures)
    yield from (need(FAILED, problem) for problem in domain.problems)
    yield from (need(BLOCKED, reason) for reason in domain.held_back)
    for action in (action for action in domain.actions if not action.quiet):
        if action.hazards:
            yield need(BLOCKED, f"{action.text}: needs --allow {','.join(action.hazards)}")
        else:
            yield need(PENDING, action.text)
    yield from (need(finding.kind.value, finding.text) for finding in domain.findings)


def storage_of(families: Families, uses: Sequence[DomainUse] | None, host_uuid: str, now: float) -> Storage:
    """Return what is to be said of the listed images; `uses`: None where it is unknown which domains use them."""
    images = [image for image in families.images.values() if image.is_listed]
    by_image = names_by_image(uses or (), images)
    return Storage(
        largest=tuple(sorted(images, key=_by_size)[:_MOST_IMAGES]),
        ages=_ages(images, now),
        oldest=_oldest(images),
        trashed=_reclaimable(image for image in images if image.expires_at is not None and not _clones(image)),
        unused=None if uses is None else _reclaimable(_unused(images, families, by_image, host_uuid, uses)),
        image_count=len(images),
        used_bytes=sum(image.total_bytes or 0 for image in images),
        domains_by_image=by_image,
    )


def _by_size(image: FamilyImage) -> tuple[int, ImageRef]:
    return (-(image.total_bytes or 0), image.ref)


def _clones(image: FamilyImage) -> bool:
    return any(snapshot.clones for snapshot in image.snapshots)


def _unused(
    images: Sequence[FamilyImage],
    families: Families,
    by_image: Mapping[ImageRef, tuple[str, ...]],
    host_uuid: str,
    uses: Sequence[DomainUse],
) -> Iterator[FamilyImage]:
    """Yield the images that no domain of this host uses, and that no other host and no clone is known to need."""
    if any(use.unknown for use in uses):
        # It may use any of them (law 14).
        return
    parents = {image.parent.key for image in families.images.values() if image.parent}
    for image in images:
        is_here = image.mark is None or image.mark.host == host_uuid
        is_plain = image.failure is None and image.expires_at is None
        if is_plain and is_here and not _clones(image) and image.key not in parents and image.ref not in by_image:
            yield image


def _reclaimable(images: Iterator[FamilyImage]) -> Reclaimable:
    found = sorted(images, key=_by_size)
    known = [image.total_bytes for image in found if image.total_bytes is not None]
    return Reclaimable(images=tuple(found), freed_bytes=sum(known), unknown=len(found) - len(known))


def _ages(images: Sequence[FamilyImage], now: float) -> tuple[Age, ...]:
    snapshots = [snapshot for image in images for snapshot in image.snapshots]
    bounds = [(label, _DAY_S * days) for label, days in _AGES]
    lower = 0.0
    ages = []
    for label, upper in (*bounds, (_OLDER, float("inf"))):
        is_in = _between(now, lower, upper)
        found = [snapshot.used_bytes for snapshot in snapshots if is_in(snapshot.created_at)]
        known = [used for used in found if used is not None]
        ages.append(Age(label=label, count=len(found), used_bytes=sum(known), unknown=len(found) - len(known)))
        lower = upper
    return tuple(ages)


def _between(now: float, lower: float, upper: float) -> Callable[[float], bool]:
    # A snapshot from the future is of now: clocks differ.
    return lambda created_at: lower <= max(0.0, now - created_at) < upper


def _oldest(images: Sequence[FamilyImage]) -> tuple[SnapshotOf, ...]:
    found = [SnapshotOf(ref=image.ref, snapshot=snapshot) for image in images for snapshot in image.snapshots]
    return tuple(sorted(found, key=lambda each: (each.snapshot.created_at, each.ref, each.snapshot.snapshot_id)))[
        :_MOST_SNAPSHOTS
    ]
