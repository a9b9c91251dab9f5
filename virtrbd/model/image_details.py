"""Details of images: snapshots, clones, parents, options; lists, usage and the trash."""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from virtrbd.model.failure import Failure
from virtrbd.model.image import Image, ImageMark, ImageRef
from virtrbd.model.image_state import ImageState
from virtrbd.model.record import Keyed


class SnapshotKind(StrEnum):
    """RBD's namespaces of snapshots: the user's, a group's, a snapshot that only clones still need, a mirror's."""

    USER = "user"
    GROUP = "group"
    TRASH = "trash"
    MIRROR = "mirror"
    UNKNOWN = "unknown"


class Child(Keyed, frozen=True, kw_only=True):
    """A clone; a clone in the trash still needs its parent.

    Its mark and its state are known only where it may have to be flattened.
    """

    ref: ImageRef
    image_id: str
    in_trash: bool = False
    mark: ImageMark | None = None
    state: ImageState | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """What it is compared by."""
        return (self.ref, self.image_id, self.in_trash)

    def __lt__(self, other: "Child") -> bool:
        return (self.ref, self.image_id, self.in_trash) < (other.ref, other.image_id, other.in_trash)

    def __str__(self) -> str:
        return f"{self.ref} (in the trash, id {self.image_id})" if self.in_trash else str(self.ref)


class Snapshot(Struct, frozen=True, kw_only=True):
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


class Option(Struct, frozen=True, kw_only=True):
    """A librbd option in force on an image, and who set it: `config` (ceph.conf, the monitors), `pool` or `image`."""

    name: str
    value: str
    source: str


class Usage(Struct, frozen=True, kw_only=True):
    """Bytes in allocated objects: of the image since its last snapshot, and of its snapshots by name, oldest first."""

    ref: ImageRef
    size_bytes: int
    used_bytes: int
    by_snapshot: Mapping[str, int] = {}

    @property
    def total_bytes(self) -> int:
        """The bytes that removing the image with its snapshots would free."""
        return self.used_bytes + sum(self.by_snapshot.values())


class ImageDetails(Struct, frozen=True, kw_only=True):
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


class ListedImage(Struct, frozen=True, kw_only=True):
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
    state: ImageState | None = None


class UnreadImage(Struct, frozen=True, kw_only=True):
    """An image that exists and cannot be read; `image_id` is empty where it is unknown too."""

    ref: ImageRef
    failure: Failure
    image_id: str = ""


class Listing(Struct, frozen=True, kw_only=True):
    """The images of a pool's namespace by name, and the images that could not be read."""

    images: tuple[ListedImage, ...] = ()
    unread: tuple[UnreadImage, ...] = ()


class TrashEntry(Struct, frozen=True, kw_only=True):
    """An image in the trash. `source`: what moved it there; virtrbd leaves all but USER alone."""

    ref: ImageRef
    image_id: str
    source: str
    deleted_at: float
    expires_at: float
