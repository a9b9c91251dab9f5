"""Images as a family: parents, snapshots and clones, each known by pool, namespace and id."""

from collections.abc import Mapping

from msgspec import Struct

from virtrbd.model.failure import Failure
from virtrbd.model.image import ImageMark, ImageRef
from virtrbd.model.image_details import SnapshotKind
from virtrbd.model.image_state import ImageState


class ImageKey(Struct, frozen=True, kw_only=True, order=True):
    """An image as Ceph knows it: a name may lead nowhere, and an image in the trash has none."""

    pool_id: int
    namespace: str
    image_id: str


class ParentLink(Struct, frozen=True, kw_only=True):
    """The snapshot that a clone was made of; the clone shares its first `overlap_bytes` with it."""

    key: ImageKey
    snapshot_id: int
    overlap_bytes: int


class FamilySnapshot(Struct, frozen=True, kw_only=True):
    """A snapshot, and the clones of it as the parent lists them.

    `used_bytes`: what was written since the snapshot before it; `allocated_bytes`: all that it shows, without what it
    shares with a parent; None where unknown.
    """

    snapshot_id: int
    label: str
    kind: SnapshotKind
    size_bytes: int
    created_at: float
    is_protected: bool = False
    used_bytes: int | None = None
    allocated_bytes: int | None = None
    clones: frozenset[ImageKey] = frozenset()


class FamilyImage(Struct, frozen=True, kw_only=True):
    """An image, or why it cannot be read: then only its name and id are known.

    `is_listed`: it is in one of the pools that were asked for; `is_above`: it is only an ancestor of these, and its
    other clones were not looked at. `expires_at` is for the trash, seconds since 1970. `snapshots` are oldest first.
    """

    key: ImageKey
    ref: ImageRef
    is_listed: bool = False
    is_above: bool = False
    size_bytes: int | None = None
    used_bytes: int | None = None
    created_at: float = 0.0
    expires_at: float | None = None
    features: tuple[str, ...] = ()
    parent: ParentLink | None = None
    snapshots: tuple[FamilySnapshot, ...] = ()
    mark: ImageMark | None = None
    state: ImageState | None = None
    failure: Failure | None = None

    @property
    def total_bytes(self) -> int | None:
        """The bytes that removing the image with its snapshots would free, None where unknown."""
        parts = [self.used_bytes, *(snapshot.used_bytes for snapshot in self.snapshots)]
        known = [part for part in parts if part is not None]
        return sum(known) if len(known) == len(parts) else None


class Families(Struct, frozen=True, kw_only=True):
    """The images of some pools with all their ancestors and descendants.

    `unread_pools`: why the images of a pool could not be listed, by pool[/namespace]. `is_cut`: there are more
    generations beyond these pools than were looked at.
    """

    images: Mapping[ImageKey, FamilyImage]
    unread_pools: Mapping[str, Failure]
    is_cut: bool = False
