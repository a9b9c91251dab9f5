"""Actions that remove an image, a snapshot or a clone."""

from typing import ClassVar

from virtrbd.model.base_action import BaseAction
from virtrbd.model.duration import format_duration
from virtrbd.model.image import ImageRef
from virtrbd.model.image_details import Child


class TrashImage(BaseAction, frozen=True, kw_only=True):
    """Move an image to the trash, with its snapshots. `retires`: the domain that is retired with it.

    `against`: what is against it, for the operator who may allow it.
    """

    ref: ImageRef
    image_id: str
    delay_s: float
    retires: str = ""
    against: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        if self.retires:
            but = f", although {'; '.join(self.against)}" if self.against else ""
            return f"move image {self.ref} to the trash for {self.delay_s / 86400:g} days{but}"
        return f"move {self.ref} to the trash for {format_duration(self.delay_s)}"


class FlattenClone(BaseAction, frozen=True, kw_only=True):
    """Flatten a clone of an image, `parent`, that is removed; it then takes space for all its data."""

    child: Child
    parent: ImageRef
    wording: ClassVar[str] = "flatten {child}"


class UnprotectSnapshot(BaseAction, frozen=True, kw_only=True):
    ref: ImageRef
    image_id: str
    wording: ClassVar[str] = "unprotect {ref}"


class RemoveSnapshot(BaseAction, frozen=True, kw_only=True):
    """`snapshot_id`: of a snapshot whose removal was interrupted, and that no longer has a name; else 0."""

    ref: ImageRef
    image_id: str
    snapshot_id: int = 0
    wording: ClassVar[str] = "remove snapshot {ref}"


class RemoveImage(BaseAction, frozen=True, kw_only=True):
    """Remove for good, by way of the trash: after an interruption there the image can be seen and removed."""

    ref: ImageRef
    image_id: str
    is_in_trash: bool = False
    wording: ClassVar[str] = "remove {ref} for good"


RemovalAction = FlattenClone | UnprotectSnapshot | RemoveSnapshot | TrashImage | RemoveImage
