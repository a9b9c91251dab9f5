"""Details of images: snapshots, clones, parents, options; lists, usage and the trash."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from virtrbd.model.failure import Failure
from virtrbd.model.image import Image, ImageMark, ImageRef


class SnapshotKind(StrEnum):
    """RBD's namespaces of snapshots: the user's, a group's, a snapshot that only clones still need, a mirror's."""

    USER = "user"
    GROUP = "group"
    TRASH = "trash"
    MIRROR = "mirror"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Child:
    """A clone; a clone in the trash still needs its parent.

    Its mark and its state are known only where it may have to be flattened.
    """

    ref: ImageRef
    image_id: str
    in_trash: bool = False
    mark: ImageMark | None = field(default=None, compare=False)
    state: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.ref} (in the trash, id {self.image_id})" if self.in_trash else str(self.ref)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A snapshot; `used_bytes`: what was written since the snapshot before it, None where unknown.

    `label`: its name for messages, which for a snapshot in the trash is its former name.
    """

    snapshot_id: int
    name: str
    kind: SnapshotKind
    label: str
    size_bytes: int
    created_at: float
    protected: bool = False
    children: tuple[Child, ...] = ()
    used_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A librbd option in force on an image, and who set it: `config` (ceph.conf, the monitors), `pool` or `image`."""

    name: str
    value: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Bytes in allocated objects: of the image since its last snapshot, and of its snapshots by name, oldest first."""

    ref: ImageRef
    size_bytes: int
    used_bytes: int
    by_snapshot: Mapping[str, int] = field(default_factory=dict)

    @property
    def total_bytes(self) -> int:
        """The bytes that removing the image with its snapshots would free."""
        return self.used_bytes + sum(self.by_snapshot.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDetails:
    """All that the cluster knows of an image. `parents` begins with its own parent; `clone_format` 0: not a clone.

    `copied_state` came with a copy of another image, and does not count. Times are seconds since 1970.
    """

    image: Image
    snapshots: tuple[Snapshot, ...] = ()
    parents: tuple[ImageRef, ...] = ()
    clone_format: int = 0
    overlap_bytes: int = 0
    usage: Usage | None = None
    flags: tuple[str, ...] = ()
    stripe_unit_bytes: int = 0
    stripe_count: int = 0
    data_pool: str = ""
    data_prefix: str = ""
    accessed_at: float = 0.0
    modified_at: float = 0.0
    lock: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()
    mirroring: bool = False
    group: str = ""
    copied_state: str = ""

    @property
    def children(self) -> tuple[Child, ...]:
        """Its clones, also those in the trash."""
        return tuple(sorted({child for snapshot in self.snapshots for child in snapshot.children}))


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedImage:
    """An image as a list shows it; `snapshots` counts the user's."""

    ref: ImageRef
    image_id: str
    size_bytes: int
    object_bytes: int
    features: tuple[str, ...]
    created_at: float
    snapshots: int = 0
    parent: ImageRef | None = None
    mark: ImageMark | None = None
    state: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadImage:
    """An image that exists and cannot be read; `image_id` is empty where it is unknown too."""

    ref: ImageRef
    failure: Failure
    image_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The images of a pool's namespace by name, and the images that could not be read."""

    images: tuple[ListedImage, ...] = ()
    unread: tuple[UnreadImage, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrashEntry:
    """An image in the trash. `source`: what moved it there; virtrbd leaves all but USER alone."""

    ref: ImageRef
    image_id: str
    source: str
    deleted_at: float
    expires_at: float
