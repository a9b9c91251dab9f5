"""Actions that mend what a crash left of an image. A module of their own: only `image repair` plans them."""

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
    @property
    def text(self) -> str:
        return f"make the name {self.ref} lead to its image (id {self.image_id}) again"


class DropIdObject(RepairAction, frozen=True, kw_only=True):
    @property
    def text(self) -> str:
        return f"remove the second name {self.ref} of the image with id {self.image_id}"


class ListImage(RepairAction, frozen=True, kw_only=True):
    @property
    def text(self) -> str:
        return f"list {self.ref} (id {self.image_id}) among the images of {self.ref.room}"


class UnlistImage(RepairAction, frozen=True, kw_only=True):
    @property
    def text(self) -> str:
        return f"remove {self.ref} (id {self.image_id}) from the images of {self.ref.room}"


class SettleTrash(RepairAction, frozen=True, kw_only=True):
    """Set the image's state in the trash to normal: librbd neither restores nor removes it before."""

    state: TrashState

    @property
    def text(self) -> str:
        return f"finish the move of {self.ref} (id {self.image_id}) to the trash"


class DropTrashEntry(RepairAction, frozen=True, kw_only=True):
    @property
    def text(self) -> str:
        return f"take {self.ref} (id {self.image_id}) out of the trash"


class RebuildObjectMap(RepairAction, frozen=True, kw_only=True):
    """Rebuild the object map of the image, or of the snapshot that `ref` names."""

    @property
    def text(self) -> str:
        return f"rebuild the object map of {self.ref}"


class BreakLock(RepairAction, frozen=True, kw_only=True):
    lock: Lock

    @property
    def text(self) -> str:
        holder = f"{self.lock.client} at {self.lock.address}"
        return f"break the lock of {holder} on {self.ref}, and have Ceph blocklist that client"


class ForgetClone(RepairAction, frozen=True, kw_only=True):
    clone: LostClone

    @property
    def text(self) -> str:
        return f"remove the clone {self.clone}, which is gone, from the list of {self.ref}"


class NoteClone(RepairAction, frozen=True, kw_only=True):
    parent: ImageRef

    @property
    def text(self) -> str:
        return f"add the clone {self.ref} to the list of {self.parent}"


class ForgetParent(RepairAction, frozen=True, kw_only=True):
    """Data that the clone had not copied is already lost with its parent; detached, the rest can be read."""

    parent: str

    @property
    def text(self) -> str:
        return f"detach {self.ref} from its parent {self.parent}: data that only the parent held reads as zeroes"


class FinishMaking(RepairAction, frozen=True, kw_only=True):
    """Mark what an earlier run of this host made, and drop its intent."""

    domain_uuid: str

    @property
    def text(self) -> str:
        return f"mark {self.ref}, which an earlier run made and could not mark"


class RemoveHalf(RepairAction, frozen=True, kw_only=True):
    @property
    def text(self) -> str:
        return f"remove the half-made {self.ref}"


class ForgetIntent(RepairAction, frozen=True, kw_only=True):
    @property
    def text(self) -> str:
        return f"forget the intent to make {self.ref}"


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
