"""Clones of which a flatten would help: because their chain is long, or because they alone keep something. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum

from msgspec import Struct

from virtrbd.model.family import Families, FamilyImage, FamilySnapshot, ImageKey
from virtrbd.model.image import ImageRef
from virtrbd.model.image_details import SnapshotKind
from virtrbd.model.image_use import DomainUse
from virtrbd.planning.image_tree import in_order

# A longer chain is a loop.
_LONGEST_CHAIN = 64


class Reason(StrEnum):
    """The rules by which a flatten helps, in their order."""

    DEPTH = "its chain of clones is longer than clone_depth"
    TRASHED_SNAPSHOT = "the last clone of a snapshot in the trash"
    TRASHED_PARENT = "the last clone of an image in the trash"
    FORSAKEN_PARENT = "the last clone of an image whose domain is gone"


class Flatten(Struct, frozen=True, kw_only=True):
    """A clone to flatten: `copies_bytes` is the most that it copies, `frees_bytes` the most that can go with its
    parent, None where that is unknown."""

    ref: ImageRef
    reason: Reason
    parent: ImageRef
    depth: int
    copies_bytes: int
    frees_bytes: int | None = None


def helpful_flattens(
    families: Families,
    depths: Mapping[ImageKey, int],
    uses: Sequence[DomainUse] | None,
    host_uuid: str,
    clone_depth: int,
) -> tuple[Flatten, ...]:
    """Return the clones to flatten, by name; `uses`: what this host's domains use, None where that is unknown."""
    counts = Counter(image.parent.key for image in families.images.values() if image.parent)
    for image in families.images.values():
        # The parent may list clones that were not looked at.
        listed = {key for snapshot in image.snapshots for key in snapshot.clones}
        counts[image.key] = max(counts[image.key], len(listed))
    judge = _Judge(families=families, clones=counts, uses=uses, host_uuid=host_uuid, clone_depth=clone_depth)
    found = (judge.flatten(image, depths.get(image.key, 0)) for image in in_order(families.images.values()))
    return tuple(each for each in found if each)


class _Judge(Struct, frozen=True, kw_only=True):
    families: Families
    clones: Mapping[ImageKey, int]
    uses: Sequence[DomainUse] | None
    host_uuid: str
    clone_depth: int

    def flatten(self, image: FamilyImage, depth: int) -> Flatten | None:
        parent = self.families.images.get(image.parent.key) if image.parent else None
        # An image in the trash has to come back first; one that is not ready is another run's.
        if parent is None or image.expires_at is not None or image.state or image.is_above:
            return None
        snapshot = _snapshot_of(image, parent)
        reason, frees = self._reason(image, parent, snapshot, depth)
        if reason is None:
            return None
        name = snapshot.label if snapshot else ""
        return Flatten(
            ref=image.ref,
            reason=reason,
            parent=ImageRef(pool=parent.ref.pool, namespace=parent.ref.namespace, name=parent.ref.name, snapshot=name),
            depth=depth,
            copies_bytes=self._copies(image),
            frees_bytes=frees,
        )

    def _reason(
        self, image: FamilyImage, parent: FamilyImage, snapshot: FamilySnapshot | None, depth: int
    ) -> tuple[Reason | None, int | None]:
        # The first one over the limit: what is below it gets shorter too.
        if depth and depth % (self.clone_depth + 1) == 0:
            return Reason.DEPTH, None
        # Without deep-flatten its snapshots keep the parent.
        if image.snapshots and "deep-flatten" not in image.features:
            return None, None
        if snapshot and snapshot.kind is SnapshotKind.TRASH and len(snapshot.clones) == 1:
            return Reason.TRASHED_SNAPSHOT, snapshot.used_bytes
        if parent.failure or self.clones[parent.key] != 1:
            return None, None
        if parent.expires_at is not None:
            return Reason.TRASHED_PARENT, parent.total_bytes
        return (Reason.FORSAKEN_PARENT, parent.total_bytes) if self._is_forsaken(parent) else (None, None)

    def _is_forsaken(self, parent: FamilyImage) -> bool:
        """Whether it belongs to a domain of this host that is gone, and no other domain here uses it."""
        mark = parent.mark
        if self.uses is None or mark is None or not mark.domain_uuid or mark.host != self.host_uuid:
            return False
        return not any(
            use.uuid == mark.domain_uuid or use.unknown or use.uses(parent.ref) or use.may_use(parent.ref)
            for use in self.uses
        )

    def _copies(self, image: FamilyImage) -> int:
        """Return what a flatten copies at most: of what it shares, all that its ancestors have."""
        overlap = image.parent.overlap_bytes if image.parent else 0
        known = list(self._allocated(image))
        return overlap if None in known else min(overlap, sum(filter(None, known)))

    def _allocated(self, image: FamilyImage) -> Iterator[int | None]:
        for _ in range(_LONGEST_CHAIN):
            if image.parent is None:
                return
            parent = self.families.images.get(image.parent.key)
            snapshot = _snapshot_of(image, parent) if parent else None
            yield snapshot.allocated_bytes if snapshot else None
            if parent is None:
                return
            image = parent


def _snapshot_of(image: FamilyImage, parent: FamilyImage) -> FamilySnapshot | None:
    wanted = image.parent.snapshot_id if image.parent else 0
    return next((each for each in parent.snapshots if each.snapshot_id == wanted), None)
