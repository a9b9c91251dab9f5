"""Actions on the images of a domain."""

from typing import ClassVar

from msgspec.structs import asdict

from virtrbd.model.base_action import BaseAction
from virtrbd.model.hazard import Hazard
from virtrbd.model.image import ImageRef
from virtrbd.model.import_file import ImportFile
from virtrbd.model.size import format_size
from virtrbd.printable import shell_command


class CreateImage(BaseAction, frozen=True, kw_only=True):
    ref: ImageRef
    domain_uuid: str
    size_bytes: int

    @property
    def text(self) -> str:
        return f"create image {self.ref} ({format_size(self.size_bytes)}){_instead_of_a_lost_one(self)}"


class CloneImage(BaseAction, frozen=True, kw_only=True):
    ref: ImageRef
    parent: ImageRef
    domain_uuid: str
    size_bytes: int

    @property
    def text(self) -> str:
        lost = _instead_of_a_lost_one(self)
        return f"clone image {self.ref} from {self.parent} ({format_size(self.size_bytes)}){lost}"


class ImportImage(BaseAction, frozen=True, kw_only=True):
    ref: ImageRef
    source: ImportFile
    domain_uuid: str
    size_bytes: int

    @property
    def text(self) -> str:
        lost = _instead_of_a_lost_one(self)
        return f"import image {self.ref} from {self.source} ({format_size(self.size_bytes)}){lost}"


def _instead_of_a_lost_one(action: "CreateImage | CloneImage | ImportImage") -> str:
    """Return the warning for an image that the domain had before, with data in it."""
    if Hazard.LOSES_DATA not in action.hazards:
        return ""
    return (
        f", empty, in place of the domain's image of that name, which is gone; "
        f"{shell_command('virtrbd image restore', action.ref)} brings it back where it is in the trash"
    )


class RemoveHalfImage(BaseAction, frozen=True, kw_only=True):
    """Remove what an interrupted run of this host began to make or to fill; its intent proves that."""

    ref: ImageRef
    image_id: str
    wording: ClassVar[str] = "remove half-made image {ref}"


class MarkImage(BaseAction, frozen=True, kw_only=True):
    """Mark an image as the domain's: the end of an interrupted creation, or a take-over."""

    ref: ImageRef
    image_id: str
    domain_uuid: str
    reason: str
    wording: ClassVar[str] = "mark image {ref} as owned ({reason})"


class DropIntent(BaseAction, frozen=True, kw_only=True):
    ref: ImageRef
    quiet: ClassVar[bool] = True
    wording: ClassVar[str] = "drop the intent for image {ref}"


class GrowImage(BaseAction, frozen=True, kw_only=True):
    ref: ImageRef
    domain_uuid: str
    target: str
    from_bytes: int
    to_bytes: int
    live: bool

    @property
    def text(self) -> str:
        return f"grow image {self.ref} from {format_size(self.from_bytes)} to {format_size(self.to_bytes)}"


class FinishRollback(BaseAction, frozen=True, kw_only=True):
    """Finish an interrupted rollback: until then the image is a mix of old and new. `ref` names the snapshot.

    A rollback that this host did not begin is requested by the image's mark alone, which every client can write.
    """

    ref: ImageRef

    @property
    def text(self) -> str:
        text = f"finish the rollback of image {self.ref.image} to {self.ref}"
        if Hazard.LOSES_DATA not in self.hazards:
            return text
        return (
            f"{text}, which the image's mark requests and this host did not begin (to drop the mark: "
            f"{shell_command('rbd image-meta remove', self.ref.image, 'virtrbd.state')})"
        )


class WriteSeed(BaseAction, frozen=True, kw_only=True):
    """Write a domain's cloud-init seed, into an image that is made for it where there is none.

    `documents` are name and content: the content may be secret, and is never shown.
    """

    ref: ImageRef
    domain_uuid: str
    digest: str
    documents: tuple[tuple[str, bytes], ...]
    is_new: bool = False
    is_read_later: bool = False

    def __repr__(self) -> str:
        return f"WriteSeed({ {name: value for name, value in asdict(self).items() if name != 'documents'} })"

    @property
    def text(self) -> str:
        names = ", ".join(name for name, _ in self.documents)
        later = "; the guest reads it at its next boot" if self.is_read_later else ""
        return f"{'make' if self.is_new else 'rewrite'} cloud-init seed {self.ref} ({names}){later}"


class NoteHost(BaseAction, frozen=True, kw_only=True):
    """Record on images that their guest runs on this host, or stopped here: another program did that."""

    refs: tuple[ImageRef, ...]
    domain_uuid: str
    runs: bool
    quiet: ClassVar[bool] = True

    @property
    def text(self) -> str:
        return f"record on the images that the guest {'runs' if self.runs else 'stopped'} here"


ImageAction = (
    CreateImage
    | CloneImage
    | ImportImage
    | RemoveHalfImage
    | MarkImage
    | DropIntent
    | GrowImage
    | FinishRollback
    | WriteSeed
    | NoteHost
)
