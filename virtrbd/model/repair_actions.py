"""Actions that mend what a crash left of an image. A module of their own: only `image repair` plans them."""

from typing import ClassVar

from virtrbd.model.base_action import BaseAction
from virtrbd.model.image import ImageRef
from virtrbd.model.image_parts import Lock, LostClone, TrashState
from virtrbd.model.size import counted


class RepairAction(BaseAction, frozen=True, kw_only=True):
    """Mend what a crash left of an image, which is known by its name and id."""

    ref: ImageRef
    image_id: str


class RemoveRemains(RepairAction, frozen=True, kw_only=True):
    """Remove the name of an image without a header, and the data under its id."""

    data_objects: int = 0

    @property
    def text(self) -> str:
        data = f", with {counted(self.data_objects, 'object')} of its data" if self.data_objects else ""
        return f"remove what is left under the name {self.ref} (id {self.image_id or 'unknown'}){data}"


class WriteIdObject(RepairAction, frozen=True, kw_only=True):
    wording: ClassVar[str] = "make the name {ref} lead to its image (id {image_id}) again"


class DropIdObject(RepairAction, frozen=True, kw_only=True):
    wording: ClassVar[str] = "remove the second name {ref} of the image with id {image_id}"


class ListImage(RepairAction, frozen=True, kw_only=True):
    wording: ClassVar[str] = "list {ref} (id {image_id}) among the images of {ref.pool_spec}"


class UnlistImage(RepairAction, frozen=True, kw_only=True):
    wording: ClassVar[str] = "remove {ref} (id {image_id}) from the images of {ref.pool_spec}"


class SettleTrash(RepairAction, frozen=True, kw_only=True):
    """Set the image's state in the trash to normal: librbd neither restores nor removes it before."""

    state: TrashState
    wording: ClassVar[str] = "finish the move of {ref} (id {image_id}) to the trash"


class DropTrashEntry(RepairAction, frozen=True, kw_only=True):
    wording: ClassVar[str] = "take {ref} (id {image_id}) out of the trash"


class RebuildObjectMap(RepairAction, frozen=True, kw_only=True):
    """Rebuild the object map of the image, or of the snapshot that `ref` names."""

    wording: ClassVar[str] = "rebuild the object map of {ref}"


class BreakLock(RepairAction, frozen=True, kw_only=True):
    lock: Lock
    wording: ClassVar[str] = (
        "break the lock of {lock.client} at {lock.address} on {ref}, and have Ceph blocklist that client"
    )


class ForgetClone(RepairAction, frozen=True, kw_only=True):
    clone: LostClone
    wording: ClassVar[str] = "remove the clone {clone}, which is gone, from the list of {ref}"


class NoteClone(RepairAction, frozen=True, kw_only=True):
    parent: ImageRef
    wording: ClassVar[str] = "add the clone {ref} to the list of {parent}"


class ForgetParent(RepairAction, frozen=True, kw_only=True):
    """Data that the clone had not copied is already lost with its parent; detached, the rest can be read."""

    parent: str
    wording: ClassVar[str] = "detach {ref} from its parent {parent}: data that only the parent held reads as zeroes"


class FinishMaking(RepairAction, frozen=True, kw_only=True):
    """Mark what an earlier run of this host made, and drop its intent."""

    domain_uuid: str
    wording: ClassVar[str] = "mark {ref}, which an earlier run made and could not mark"


class RemoveHalf(RepairAction, frozen=True, kw_only=True):
    wording: ClassVar[str] = "remove the half-made {ref}"


class ForgetIntent(RepairAction, frozen=True, kw_only=True):
    wording: ClassVar[str] = "forget the intent to make {ref}"


AnyRepair = (
    RemoveRemains
    | WriteIdObject
    | DropIdObject
    | ListImage
    | UnlistImage
    | SettleTrash
    | DropTrashEntry
    | RebuildObjectMap
    | BreakLock
    | ForgetClone
    | NoteClone
    | ForgetParent
    | FinishMaking
    | RemoveHalf
    | ForgetIntent
)
