"""What a report of a host and its pools says, as data."""

from collections.abc import Mapping

from msgspec import Struct

from virtrbd.model.family import FamilyImage, FamilySnapshot
from virtrbd.model.image import ImageRef
from virtrbd.model.power import PowerState


class PoolSpace(Struct, frozen=True, kw_only=True):
    """The space of a pool, as `ceph df` has it: `stored_bytes` without copies; quota 0: none."""

    name: str
    stored_bytes: int
    free_bytes: int
    quota_bytes: int = 0

    @property
    def limit_bytes(self) -> int:
        """How much it may hold: what Ceph has room for, or its quota."""
        room = self.stored_bytes + self.free_bytes
        return min(room, self.quota_bytes) if self.quota_bytes else room

    @property
    def left_bytes(self) -> int:
        """How much more it may hold."""
        return max(0, self.limit_bytes - self.stored_bytes)

    @property
    def share(self) -> float:
        """How full it is, from 0 to 1."""
        return min(1.0, self.stored_bytes / self.limit_bytes) if self.limit_bytes > 0 else 1.0


class PoolsThen(Struct, frozen=True, kw_only=True):
    """The bytes stored in pools at a time, in seconds since 1970."""

    at: float
    stored: dict[str, int]


class PoolGrowth(Struct, frozen=True, kw_only=True):
    """A pool's space, how it came to it, and where that leads; None where there is no earlier report.

    `points` are times and bytes; `full_in_days`: at the same rate, None for a pool that does not grow.
    """

    space: PoolSpace
    points: tuple[tuple[float, int], ...]
    bytes_a_day: float | None = None
    full_in_days: float | None = None


class DomainLine(Struct, frozen=True, kw_only=True, order=True):
    """A domain of the host."""

    name: str
    state: PowerState


class Need(Struct, frozen=True, kw_only=True):
    """What waits for the operator or for the next run; `kind` is a word for how it waits."""

    domain: str
    kind: str
    text: str


class Age(Struct, frozen=True, kw_only=True):
    """The snapshots of an age: how many, and what they add; `unknown` of them do not say."""

    label: str
    count: int
    used_bytes: int
    unknown: int


class SnapshotOf(Struct, frozen=True, kw_only=True):
    """A snapshot with the image that it is of."""

    ref: ImageRef
    snapshot: FamilySnapshot


class Reclaimable(Struct, frozen=True, kw_only=True):
    """Images that may go, with the bytes that this would free at most; `unknown` of them do not say."""

    images: tuple[FamilyImage, ...]
    freed_bytes: int
    unknown: int


class Storage(Struct, frozen=True, kw_only=True):
    """What a report says of the images of pools. `unused` is None where libvirt does not answer."""

    largest: tuple[FamilyImage, ...]
    ages: tuple[Age, ...]
    oldest: tuple[SnapshotOf, ...]
    trashed: Reclaimable
    unused: Reclaimable | None
    image_count: int
    used_bytes: int
    domains_by_image: Mapping[ImageRef, tuple[str, ...]]
