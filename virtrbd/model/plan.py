"""Plans: what would be done, as data."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from virtrbd.errors import ExitCode
from virtrbd.model.domain import ForeignChange, PowerState
from virtrbd.model.image import ImageRef
from virtrbd.model.lint import Lint
from virtrbd.model.size import format_size


class Hazard(StrEnum):
    """What an action may cost; one that is not allowed stays in the plan, blocked."""

    INTERRUPTS_GUEST = "interrupts-guest"
    FORGETS_DOMAIN = "forgets-domain"
    LOSES_DATA = "loses-data"
    TAKES_OVER = "takes-over"


class Mend(StrEnum):
    """How a difference is mended: in the running guest, at its next boot, or only by making it anew."""

    LIVE = "live"
    NEXT_BOOT = "next-boot"
    REBUILD = "rebuild"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is not as desired: where, what was wanted, what was found, how it is mended."""

    path: str
    wanted: str
    found: str
    mend: Mend = Mend.NEXT_BOOT

    def __str__(self) -> str:
        return f"{self.path}: {self.found or 'absent'} -> {self.wanted or 'absent'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Action:
    """What all actions share; `quiet` ones change nothing that a person would care about.

    Nothing builds on `separable` ones: blocked, they hold back nothing else of their domain.
    """

    hazards: tuple[Hazard, ...] = ()
    quiet: ClassVar[bool] = False
    separable: ClassVar[bool] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DefineSecret(_Action):
    uuid: str
    usage: str

    @property
    def text(self) -> str:
        return f"define secret {self.uuid} for {self.usage.split('@')[0]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateImage(_Action):
    ref: ImageRef
    domain_uuid: str
    size_bytes: int

    @property
    def text(self) -> str:
        return f"create image {self.ref} ({format_size(self.size_bytes)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class CloneImage(_Action):
    ref: ImageRef
    parent: ImageRef
    domain_uuid: str
    size_bytes: int

    @property
    def text(self) -> str:
        return f"clone image {self.ref} from {self.parent} ({format_size(self.size_bytes)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportImage(_Action):
    ref: ImageRef
    file: str
    domain_uuid: str
    size_bytes: int

    @property
    def text(self) -> str:
        return f"import image {self.ref} from {self.file} ({format_size(self.size_bytes)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveHalfImage(_Action):
    """Remove what an import of ours left half done; its intent proves that it is ours."""

    ref: ImageRef
    image_id: str

    @property
    def text(self) -> str:
        return f"remove half-imported image {self.ref}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkImage(_Action):
    """Mark an image as the domain's: the end of a creation that was cut off, or a take-over."""

    ref: ImageRef
    image_id: str
    domain_uuid: str
    reason: str

    @property
    def text(self) -> str:
        return f"mark image {self.ref} as owned ({self.reason})"


@dataclass(frozen=True, slots=True, kw_only=True)
class DropIntent(_Action):
    ref: ImageRef
    quiet: ClassVar[bool] = True

    @property
    def text(self) -> str:
        return f"drop the intent for image {self.ref}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowImage(_Action):
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
class FinishRollback(_Action):
    """Finish a rollback that was cut off: until then the image is a mix of old and new. `ref` names the snapshot."""

    ref: ImageRef

    @property
    def text(self) -> str:
        return f"finish the rollback of image {self.ref.image} to {self.ref}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteSeed(_Action):
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
class DefineDomain(_Action):
    """Define `xml`: the rendered document for a new domain, else an edit of `based_on`, libvirt's own."""

    domain_uuid: str
    xml: str
    inputs: str
    based_on: str = ""
    differences: tuple[Difference, ...] = ()
    pending: bool = False

    @property
    def text(self) -> str:
        if not self.based_on:
            return "define domain"
        changes = "; ".join(map(str, self.differences)) or "mark as owned"
        return f"edit definition ({changes})" + (", in force from the next boot" if self.pending else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewMark(_Action):
    """Record the digests of `based_on`, a definition that is as desired, and what states it; changes nothing for the
    guest."""

    domain_uuid: str
    inputs: str
    based_on: str = ""
    stated: tuple[str, ...] = ()
    foreign: tuple[ForeignChange, ...] = ()
    quiet: ClassVar[bool] = True

    @property
    def text(self) -> str:
        return "renew digests"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAutostart(_Action):
    domain_uuid: str
    autostart: bool

    @property
    def text(self) -> str:
        return f"set autostart {'on' if self.autostart else 'off'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartDomain(_Action):
    domain_uuid: str
    separable: ClassVar[bool] = True

    @property
    def text(self) -> str:
        return "start domain"


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveAction(_Action):
    """A change in a running guest; one that is blocked holds back nothing else of its domain."""

    domain_uuid: str
    separable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachDevice(LiveAction):
    """Attach what the definition has to the running guest. `device` is its step: `disk:vdb`.

    `image` is what the guest will write to: opened through the start gate.
    """

    device: str
    image: ImageRef | None = None

    @property
    def text(self) -> str:
        return f"attach {_device_words(self.device)}" + (f" (image {self.image})" if self.image else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class DetachDevice(LiveAction):
    """Detach what the definition has no more. It holds back the whole domain: a typo must not unplug a disk."""

    device: str
    image: ImageRef | None = None
    separable: ClassVar[bool] = False

    @property
    def text(self) -> str:
        return f"detach {_device_words(self.device)}" + (f" (image {self.image}, which stays)" if self.image else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeMedia(LiveAction):
    """Put another medium, or none, into a CD-ROM drive."""

    device: str
    image: ImageRef | None

    @property
    def text(self) -> str:
        target = self.device.partition(":")[2]
        return f"insert {self.image} into {target}" if self.image else f"eject {target}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitDisk(LiveAction):
    """Set I/O limits, in libvirt's words; 0 is none."""

    target: str
    limits: tuple[tuple[str, int | str], ...]

    @property
    def text(self) -> str:
        return f"limit disk {self.target} ({', '.join(f'{name} {value}' for name, value in self.limits)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetLink(LiveAction):
    device: str
    up: bool

    @property
    def text(self) -> str:
        return f"set link of {_device_words(self.device)} {'up' if self.up else 'down'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetMemory(LiveAction):
    from_bytes: int
    to_bytes: int

    @property
    def text(self) -> str:
        return f"set the guest's memory from {format_size(self.from_bytes)} to {format_size(self.to_bytes)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetVcpus(LiveAction):
    from_count: int
    to_count: int

    @property
    def text(self) -> str:
        return f"set the guest's vcpus from {self.from_count} to {self.to_count}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetTitle(LiveAction):
    title: str
    description: str

    @property
    def text(self) -> str:
        return "set title and description of the running domain"


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkLive(LiveAction):
    """Record in the live XML what of the running guest is ours."""

    stated: tuple[str, ...]
    quiet: ClassVar[bool] = True

    @property
    def text(self) -> str:
        return "mark the running domain"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutDownDomain(_Action):
    domain_uuid: str

    @property
    def text(self) -> str:
        return "shut down domain"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteHost(_Action):
    """Say on images that their guest runs on this host, or that it stopped here: somebody else did that."""

    refs: tuple[ImageRef, ...]
    domain_uuid: str
    runs: bool
    quiet: ClassVar[bool] = True

    @property
    def text(self) -> str:
        return f"note on the images that the guest {'runs' if self.runs else 'stopped'} here"


@dataclass(frozen=True, slots=True, kw_only=True)
class DropManagedSave(_Action):
    domain_uuid: str

    @property
    def text(self) -> str:
        return "drop the managed save: the memory of the guest"


@dataclass(frozen=True, slots=True, kw_only=True)
class UndefineDomain(_Action):
    domain_uuid: str

    @property
    def text(self) -> str:
        return "undefine domain"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrashImage(_Action):
    ref: ImageRef
    image_id: str
    delay_s: float

    @property
    def text(self) -> str:
        return f"move image {self.ref} to the trash for {self.delay_s / 86400:g} days"


def _device_words(device: str) -> str:
    """Return `disk vdb` for `disk:vdb`."""
    return device.replace(":", " ", 1)


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


class FindingKind(StrEnum):
    """What a person should know of, and no run mends."""

    PENDING = "pending restart"
    FOREIGN = "changed by others"
    ORPHAN = "orphan"
    REBUILD = "rebuild"
    HELD = "held"
    SAVED = "managed save"
    PAUSED = "paused"
    MONITORS = "stale monitors"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Finding:
    """One thing that a person should know. `subject` tells it from others of its kind: a path, say."""

    domain: str
    kind: FindingKind
    subject: str = ""
    text: str

    def __str__(self) -> str:
        return f"{self.domain}: {self.kind}: {self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainPlan:
    """What one domain needs, in order. A problem holds the whole domain back; lints and findings hold nothing back.

    `held_back`: why nothing of it may be done now. `exists`: libvirt holds it already, as ours. `judged`: the digest of
    documents in which there is nothing to do and nothing to say, empty where that is not so.
    """

    name: str
    actions: tuple[Action, ...] = ()
    problems: tuple[str, ...] = ()
    note: str = ""
    lints: tuple[Lint, ...] = ()
    findings: tuple[Finding, ...] = ()
    held_back: tuple[str, ...] = ()
    uuid: str = ""
    exists: bool = False
    judged: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What all domains need, by name. `stopped`: why nothing of it may be done. `states`: of all domains here."""

    domains: tuple[DomainPlan, ...] = ()
    stopped: str = ""
    states: tuple[PowerState, ...] = ()


class Result(StrEnum):
    DONE = "done"
    PENDING = "pending"
    BLOCKED = "blocked"
    FAILED = "failed"
    UNKNOWN = "unknown"
    NOT_TRIED = "not tried"
    BUSY = "busy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one action; `exit_code` is what it alone would end the run with."""

    domain: str
    text: str
    result: Result
    detail: str = ""
    quiet: bool = False
    exit_code: ExitCode = ExitCode.OK
