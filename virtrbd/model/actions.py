"""Actions: what a plan is made of. What must never happen has none: there is no ShrinkImage."""

from dataclasses import dataclass, field
from typing import ClassVar

from virtrbd.model.base_action import BaseAction
from virtrbd.model.difference import Difference
from virtrbd.model.domain import ForeignChange
from virtrbd.model.hazard import Hazard
from virtrbd.model.image import ImageRef
from virtrbd.model.import_file import ImportFile
from virtrbd.model.live_actions import (
    AttachDevice,
    ChangeMedia,
    DetachDevice,
    LimitDisk,
    MarkLive,
    SetLink,
    SetMemory,
    SetTitle,
    SetVcpus,
)
from virtrbd.model.retirement import Retirement
from virtrbd.model.size import format_size
from virtrbd.printable import shell_command


@dataclass(frozen=True, slots=True, kw_only=True)
class DefineSecret(BaseAction):
    uuid: str
    usage: str

    @property
    def text(self) -> str:
        return f"define secret {self.uuid} for {self.usage.split('@')[0]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateImage(BaseAction):
    ref: ImageRef
    domain_uuid: str
    size_bytes: int

    @property
    def text(self) -> str:
        return f"create image {self.ref} ({format_size(self.size_bytes)}){_instead_of_a_lost_one(self)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CloneImage(BaseAction):
    ref: ImageRef
    parent: ImageRef
    domain_uuid: str
    size_bytes: int

    @property
    def text(self) -> str:
        lost = _instead_of_a_lost_one(self)
        return f"clone image {self.ref} from {self.parent} ({format_size(self.size_bytes)}){lost}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportImage(BaseAction):
    ref: ImageRef
    source: ImportFile
    domain_uuid: str
    size_bytes: int

    @property
    def text(self) -> str:
        lost = _instead_of_a_lost_one(self)
        return f"import image {self.ref} from {self.source} ({format_size(self.size_bytes)}){lost}"


def _instead_of_a_lost_one(action: "CreateImage | CloneImage | ImportImage") -> str:
    """Return what to say where the domain had such an image, and data in it, before."""
    if Hazard.LOSES_DATA not in action.hazards:
        return ""
    return (
        f", new, in the place of the domain's image of that name, which is gone; "
        f"{shell_command('virtrbd image restore', action.ref)} brings it back where it is in the trash"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveHalfImage(BaseAction):
    """Remove what a run of ours was cut off to make or to fill; its intent proves that it is ours."""

    ref: ImageRef
    image_id: str

    @property
    def text(self) -> str:
        return f"remove half-made image {self.ref}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkImage(BaseAction):
    """Mark an image as the domain's: the end of a creation that was cut off, or a take-over."""

    ref: ImageRef
    image_id: str
    domain_uuid: str
    reason: str

    @property
    def text(self) -> str:
        return f"mark image {self.ref} as owned ({self.reason})"


@dataclass(frozen=True, slots=True, kw_only=True)
class DropIntent(BaseAction):
    ref: ImageRef
    quiet: ClassVar[bool] = True

    @property
    def text(self) -> str:
        return f"drop the intent for image {self.ref}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowImage(BaseAction):
    ref: ImageRef
    domain_uuid: str
    target: str
    from_bytes: int
    to_bytes: int
    live: bool

    @property
    def text(self) -> str:
        return f"grow image {self.ref} from {format_size(self.from_bytes)} to {format_size(self.to_bytes)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishRollback(BaseAction):
    """Finish a rollback that was cut off: until then the image is a mix of old and new. `ref` names the snapshot.

    What this host did not begin only the image's mark asks for, and every client of the pool can write that.
    """

    ref: ImageRef

    @property
    def text(self) -> str:
        text = f"finish the rollback of image {self.ref.image} to {self.ref}"
        if Hazard.LOSES_DATA not in self.hazards:
            return text
        return (
            f"{text}, which the image's mark asks for and this host did not begin (to drop the mark: "
            f"{shell_command('rbd image-meta remove', self.ref.image, 'virtrbd.state')})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteSeed(BaseAction):
    """Write a domain's cloud-init seed, into an image that is made for it where there is none.

    `documents` are name and content: what they hold may be secret, and is shown nowhere.
    """

    ref: ImageRef
    domain_uuid: str
    digest: str
    documents: tuple[tuple[str, bytes], ...] = field(repr=False)
    is_new: bool = False
    is_read_later: bool = False

    @property
    def text(self) -> str:
        names = ", ".join(name for name, _ in self.documents)
        later = "; the guest reads it at its next boot" if self.is_read_later else ""
        return f"{'make' if self.is_new else 'rewrite'} cloud-init seed {self.ref} ({names}){later}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DefineDomain(BaseAction):
    """Define `xml`: the rendered document for a new domain, else an edit of `based_on`, libvirt's own, by what is
    `rendered`.

    `was_undefined`: by somebody, while its guest runs, which goes on; only its definition is gone.
    """

    domain_uuid: str
    xml: str
    inputs: str
    rendered: str = ""
    based_on: str = ""
    was_undefined: bool = False
    differences: tuple[Difference, ...] = ()
    pending: bool = False

    @property
    def text(self) -> str:
        if not self.based_on:
            return "define domain"
        changes = "; ".join(map(str, self.differences))
        if self.was_undefined:
            return "define again what somebody undefined under its guest" + (f" ({changes})" if changes else "")
        changes = changes or "mark as owned"
        return f"edit definition ({changes})" + (", in force from the next boot" if self.pending else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewMark(BaseAction):
    """Record the digests of `based_on`, a definition that is as desired, and what states it; changes nothing for the
    guest."""

    domain_uuid: str
    inputs: str
    based_on: str = ""
    stated: tuple[str, ...] = ()
    foreign: tuple[ForeignChange, ...] = ()
    places: tuple[tuple[str, str], ...] = ()
    forms: tuple[str, ...] = ()
    quiet: ClassVar[bool] = True

    @property
    def text(self) -> str:
        return "renew digests"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAutostart(BaseAction):
    domain_uuid: str
    autostart: bool

    @property
    def text(self) -> str:
        return f"set autostart {'on' if self.autostart else 'off'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartDomain(BaseAction):
    """Start a domain; `elsewhere` is the host that its images were last started on, where that never let go of them."""

    domain_uuid: str
    elsewhere: str = ""
    separable: ClassVar[bool] = True

    @property
    def text(self) -> str:
        if self.elsewhere:
            return f"start domain (it was last started on host {self.elsewhere}, which may run or save it still)"
        return "start domain"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutDownDomain(BaseAction):
    domain_uuid: str

    @property
    def text(self) -> str:
        return "shut down domain"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteHost(BaseAction):
    """Say on images that their guest runs on this host, or that it stopped here: somebody else did that."""

    refs: tuple[ImageRef, ...]
    domain_uuid: str
    runs: bool
    quiet: ClassVar[bool] = True

    @property
    def text(self) -> str:
        return f"note on the images that the guest {'runs' if self.runs else 'stopped'} here"


@dataclass(frozen=True, slots=True, kw_only=True)
class DropManagedSave(BaseAction):
    domain_uuid: str

    @property
    def text(self) -> str:
        return "drop the managed save: the memory of the guest"


@dataclass(frozen=True, slots=True, kw_only=True)
class UndefineDomain(BaseAction):
    """Forget the definition. `retirement`: what the next run finishes where this one ends in between."""

    domain_uuid: str
    forget_snapshots: bool = False
    retirement: Retirement | None = None

    @property
    def text(self) -> str:
        return "undefine domain" + (" and forget its snapshots and checkpoints" if self.forget_snapshots else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrashImage(BaseAction):
    """Move an image to the trash. `retires`: the domain that is retired with it."""

    ref: ImageRef
    image_id: str
    delay_s: float
    retires: str = ""

    @property
    def text(self) -> str:
        return f"move image {self.ref} to the trash for {self.delay_s / 86400:g} days"


Action = (
    DefineSecret
    | CreateImage
    | CloneImage
    | ImportImage
    | RemoveHalfImage
    | MarkImage
    | DropIntent
    | GrowImage
    | FinishRollback
    | WriteSeed
    | DefineDomain
    | RenewMark
    | SetAutostart
    | StartDomain
    | AttachDevice
    | DetachDevice
    | ChangeMedia
    | LimitDisk
    | SetLink
    | SetMemory
    | SetVcpus
    | SetTitle
    | MarkLive
    | ShutDownDomain
    | NoteHost
    | DropManagedSave
    | UndefineDomain
    | TrashImage
)
