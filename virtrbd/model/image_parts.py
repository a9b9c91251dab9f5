"""The parts of an RBD image: objects and entries that librbd writes one after the other; a kill may leave some.

In the order of Ceph 16 (measured by the OSD's operations): a create writes the directory's entry, the id object, the
header, the object map; a clone then its parent, and itself into the parent's list. A move to the trash writes the
trash's entry, and removes the id object and the directory's entry; a removal goes the same way, then takes the header.
"""

from collections.abc import Mapping
from enum import Enum

from msgspec import Struct, field

from virtrbd.model.image import ImageRef, Obstacle


class TrashState(Enum):
    """The state of an image in the trash (cls_rbd's TrashImageState); librbd acts only on a NORMAL one."""

    NORMAL = 0
    MOVING = 1
    REMOVING = 2
    RESTORING = 3

    @property
    def is_settled(self) -> bool:
        """Whether librbd can restore and remove it."""
        return self in (TrashState.NORMAL, TrashState.REMOVING)


class Lock(Struct, frozen=True, kw_only=True):
    """The holder of a lock on an image; `is_exclusive`: librbd's own lock, which it takes and releases by itself."""

    client: str
    cookie: str
    address: str
    is_exclusive: bool = False


class LostClone(Struct, frozen=True, kw_only=True):
    """A clone that a snapshot of its parent lists, and that has no header or has another parent.

    `is_old`: it is listed like clones of format 1, in its own pool, and `pool_id` has no meaning.
    """

    where: ImageRef
    image_id: str
    parent_snapshot_id: int
    pool_id: int = 0
    is_old: bool = False

    def __str__(self) -> str:
        return f"{self.where.pool_spec}/(id {self.image_id})"


class ImageParts(Struct, frozen=True, kw_only=True):
    """What a pool's namespace holds under one name; the image's id comes from the id object, else from the directory.

    `id_object`: the id that `rbd_id.NAME` holds, "" where it cannot be read, None where there is no such object.
    `noted_at`: when that was written, in seconds since 1970.
    `listed_id`: the id that the directory has for the name; `listed_name`: the name that it has for the id.
    `is_known_by_it`: whether the id object of `listed_name` holds the id too.
    `has_header`: there is a header with the image's size. `is_blank`: there is an empty header, by which a
    removal keeps other clients from making the image.
    `trash`: the image's state in the trash, None where it is not there. `stuck`: other images of that name, by id, that
    were interrupted on their way into the trash or out of it.
    `lost_parent`: the parent that its header names, where that is surely gone.
    `data_objects`: counted only where there is no header.
    """

    ref: ImageRef
    id_object: str | None = None
    noted_at: float = 0.0
    listed_id: str = ""
    listed_name: str = ""
    is_known_by_it: bool = False
    has_header: bool = False
    is_blank: bool = False
    trash: TrashState | None = None
    stuck: Mapping[str, TrashState] = field(default_factory=dict)
    lost_parent: str = ""
    data_objects: int = 0

    @property
    def image_id(self) -> str:
        return self.id_object or self.listed_id

    @property
    def is_named(self) -> bool:
        """Whether the name is taken: then librbd makes no image of that name."""
        return self.id_object is not None or bool(self.listed_id)


class ImageTroubles(Struct, frozen=True, kw_only=True):
    """What is wrong with an image that opens.

    `bad_maps`: the snapshots whose object map is not valid, "" for the image's own. `unlisted_in`: its parent's
    snapshot, where that does not list it.
    """

    bad_maps: tuple[str, ...] = ()
    locks: tuple[Lock, ...] = ()
    lost_clones: tuple[LostClone, ...] = ()
    unlisted_in: ImageRef | None = None
    obstacles: tuple[Obstacle, ...] = ()
