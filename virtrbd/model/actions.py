"""Actions, the steps of a plan. What must never happen has no action: there is no ShrinkImage."""

from typing import ClassVar

from msgspec.structs import asdict

from virtrbd.model.base_action import BaseAction
from virtrbd.model.difference import Difference
from virtrbd.model.duration import format_duration
from virtrbd.model.hazard import Hazard
from virtrbd.model.image import ImageRef
from virtrbd.model.image_details import Child
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
from virtrbd.model.mark import ForeignChange
from virtrbd.model.retirement import RetiredImage, Retirement
from virtrbd.model.size import format_size
from virtrbd.printable import shell_command


class DefineSecret(BaseAction, frozen=True, kw_only=True):
    uuid: str
    usage: str

    @property
    def text(self) -> str:
        return f"define secret {self.uuid} for {self.usage.split('@')[0]}"


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

    @property
    def text(self) -> str:
        return f"remove half-made image {self.ref}"


class MarkImage(BaseAction, frozen=True, kw_only=True):
    """Mark an image as the domain's: the end of an interrupted creation, or a take-over."""

    ref: ImageRef
    image_id: str
    domain_uuid: str
    reason: str

    @property
    def text(self) -> str:
        return f"mark image {self.ref} as owned ({self.reason})"


class DropIntent(BaseAction, frozen=True, kw_only=True):
    ref: ImageRef
    quiet: ClassVar[bool] = True

    @property
    def text(self) -> str:
        return f"drop the intent for image {self.ref}"


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


class DefineDomain(BaseAction, frozen=True, kw_only=True):
    """Define `xml`: the rendered document for a new domain, else libvirt's own `based_on`, edited to match
    `rendered`.

    `was_undefined`: another program undefined it while its guest runs; only the definition is gone.
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
            return "define again; it was undefined while its guest runs" + (f" ({changes})" if changes else "")
        changes = changes or "mark as owned"
        return f"edit definition ({changes})" + (", takes effect at the next boot" if self.pending else "")


class RenewMark(BaseAction, frozen=True, kw_only=True):
    """Record the digests of `based_on`, a definition that is as desired, and what it states; changes nothing for
    the guest."""

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


class SetAutostart(BaseAction, frozen=True, kw_only=True):
    domain_uuid: str
    autostart: bool

    @property
    def text(self) -> str:
        return f"set autostart {'on' if self.autostart else 'off'}"


class StartDomain(BaseAction, frozen=True, kw_only=True):
    """Start a domain; `elsewhere` is the host of the last start, where that host has not released its images."""

    domain_uuid: str
    elsewhere: str = ""
    separable: ClassVar[bool] = True

    @property
    def text(self) -> str:
        if self.elsewhere:
            return (
                f"start domain (it was last started on host {self.elsewhere}, which may still run it or hold its "
                f"managed save)"
            )
        return "start domain"


class ShutDownDomain(BaseAction, frozen=True, kw_only=True):
    domain_uuid: str

    @property
    def text(self) -> str:
        return "shut down domain"


class NoteHost(BaseAction, frozen=True, kw_only=True):
    """Record on images that their guest runs on this host, or stopped here: another program did that."""

    refs: tuple[ImageRef, ...]
    domain_uuid: str
    runs: bool
    quiet: ClassVar[bool] = True

    @property
    def text(self) -> str:
        return f"record on the images that the guest {'runs' if self.runs else 'stopped'} here"


class DropManagedSave(BaseAction, frozen=True, kw_only=True):
    domain_uuid: str

    @property
    def text(self) -> str:
        return "drop the managed save: the memory of the guest"


class UndefineDomain(BaseAction, frozen=True, kw_only=True):
    """Release the images, and forget the definition. `retirement`: what the next run finishes where this run ends in
    between.

    `owned`: the domain's images, for which the definition is a proof that they were made here. `unread`: images that
    do not answer, and are left as they are.
    """

    domain_uuid: str
    forget_snapshots: bool = False
    owned: tuple[RetiredImage, ...] = ()
    unread: tuple[ImageRef, ...] = ()
    retirement: Retirement | None = None

    @property
    def text(self) -> str:
        return "undefine domain" + (" and forget its snapshots and checkpoints" if self.forget_snapshots else "")


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

    @property
    def text(self) -> str:
        return f"flatten {self.child}"


class UnprotectSnapshot(BaseAction, frozen=True, kw_only=True):
    ref: ImageRef
    image_id: str

    @property
    def text(self) -> str:
        return f"unprotect {self.ref}"


class RemoveSnapshot(BaseAction, frozen=True, kw_only=True):
    """`snapshot_id`: of a snapshot whose removal was interrupted, and that no longer has a name; else 0."""

    ref: ImageRef
    image_id: str
    snapshot_id: int = 0

    @property
    def text(self) -> str:
        return f"remove snapshot {self.ref}"


class RemoveImage(BaseAction, frozen=True, kw_only=True):
    """Remove for good, by way of the trash: after an interruption there the image can be seen and removed."""

    ref: ImageRef
    image_id: str
    is_in_trash: bool = False

    @property
    def text(self) -> str:
        return f"remove {self.ref} for good"


RemovalAction = FlattenClone | UnprotectSnapshot | RemoveSnapshot | TrashImage | RemoveImage


class RepairAction(BaseAction, frozen=True, kw_only=True):
    """Mend what a crash left of an image, which is known by its name and id: model/repair_actions.py."""

    ref: ImageRef
    image_id: str


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
    | RemovalAction
    | RepairAction
)
