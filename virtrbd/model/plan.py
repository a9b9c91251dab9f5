"""Plans: what would be done, as data."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from virtrbd.errors import ExitCode
from virtrbd.model.image import ImageRef
from virtrbd.model.lint import Lint
from virtrbd.model.size import format_size


class Hazard(StrEnum):
    """What an action may cost; one that is not allowed stays in the plan, blocked."""

    INTERRUPTS_GUEST = "interrupts-guest"
    FORGETS_DOMAIN = "forgets-domain"
    LOSES_DATA = "loses-data"
    TAKES_OVER = "takes-over"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is not as desired: where, what was wanted, what was found."""

    path: str
    wanted: str
    found: str

    def __str__(self) -> str:
        return f"{self.path}: {self.found or 'absent'} -> {self.wanted or 'absent'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Action:
    """What all actions share; `quiet` ones change nothing that a person would care about."""

    hazards: tuple[Hazard, ...] = ()
    quiet: ClassVar[bool] = False


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
    """Record the digests of a definition that is as desired, and what states it; changes nothing for the guest."""

    domain_uuid: str
    inputs: str
    stated: tuple[str, ...] = ()
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

    @property
    def text(self) -> str:
        return "start domain"


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
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainPlan:
    """What one domain needs, in order. A problem holds the whole domain back; lints hold nothing back."""

    name: str
    actions: tuple[Action, ...] = ()
    problems: tuple[str, ...] = ()
    note: str = ""
    lints: tuple[Lint, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    domains: tuple[DomainPlan, ...] = ()


class Result(StrEnum):
    DONE = "done"
    BLOCKED = "blocked"
    FAILED = "failed"
    UNKNOWN = "unknown"
    NOT_TRIED = "not tried"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one action; `exit_code` is what it alone would end the run with."""

    domain: str
    text: str
    result: Result
    detail: str = ""
    quiet: bool = False
    exit_code: ExitCode = ExitCode.OK
