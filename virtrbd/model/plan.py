"""Plans: what would be done, as data."""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from virtrbd.errors import ExitCode
from virtrbd.model.image import ImageRef
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
class DefineSecret:
    uuid: str
    usage: str
    hazards: tuple[Hazard, ...] = ()
    quiet: ClassVar[bool] = False

    @property
    def text(self) -> str:
        return f"define secret {self.uuid} for {self.usage.split('@')[0]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateImage:
    ref: ImageRef
    domain_uuid: str
    size_bytes: int
    hazards: tuple[Hazard, ...] = ()
    quiet: ClassVar[bool] = False

    @property
    def text(self) -> str:
        return f"create image {self.ref} ({format_size(self.size_bytes)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class CloneImage:
    ref: ImageRef
    parent: ImageRef
    domain_uuid: str
    size_bytes: int
    hazards: tuple[Hazard, ...] = ()
    quiet: ClassVar[bool] = False

    @property
    def text(self) -> str:
        return f"clone image {self.ref} from {self.parent} ({format_size(self.size_bytes)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportImage:
    ref: ImageRef
    file: str
    domain_uuid: str
    size_bytes: int
    hazards: tuple[Hazard, ...] = ()
    quiet: ClassVar[bool] = False

    @property
    def text(self) -> str:
        return f"import image {self.ref} from {self.file} ({format_size(self.size_bytes)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveHalfImage:
    """Remove what an import of ours left half done; its intent proves that it is ours."""

    ref: ImageRef
    image_id: str
    hazards: tuple[Hazard, ...] = ()
    quiet: ClassVar[bool] = False

    @property
    def text(self) -> str:
        return f"remove half-imported image {self.ref}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkImage:
    """Mark an image as the domain's: the end of a creation that was cut off, or a take-over."""

    ref: ImageRef
    image_id: str
    domain_uuid: str
    reason: str
    hazards: tuple[Hazard, ...] = ()
    quiet: ClassVar[bool] = False

    @property
    def text(self) -> str:
        return f"mark image {self.ref} as owned ({self.reason})"


@dataclass(frozen=True, slots=True, kw_only=True)
class DropIntent:
    ref: ImageRef
    hazards: tuple[Hazard, ...] = ()
    quiet: ClassVar[bool] = True

    @property
    def text(self) -> str:
        return f"drop the intent for image {self.ref}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowImage:
    ref: ImageRef
    domain_uuid: str
    target: str
    from_bytes: int
    to_bytes: int
    live: bool
    hazards: tuple[Hazard, ...] = ()
    quiet: ClassVar[bool] = False

    @property
    def text(self) -> str:
        return f"grow image {self.ref} from {format_size(self.from_bytes)} to {format_size(self.to_bytes)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DefineDomain:
    """Define `xml`: the rendered document for a new domain, else an edit of `based_on`, libvirt's own."""

    domain_uuid: str
    xml: str
    inputs: str
    based_on: str = ""
    differences: tuple[Difference, ...] = ()
    pending: bool = False
    hazards: tuple[Hazard, ...] = ()
    quiet: ClassVar[bool] = False

    @property
    def text(self) -> str:
        if not self.based_on:
            return "define domain"
        changes = "; ".join(map(str, self.differences)) or "mark as owned"
        return f"edit definition ({changes})" + (", in force from the next boot" if self.pending else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewMark:
    """Record the digests of a definition that is as desired; changes nothing for the guest."""

    domain_uuid: str
    inputs: str
    hazards: tuple[Hazard, ...] = ()
    quiet: ClassVar[bool] = True

    @property
    def text(self) -> str:
        return "renew digests"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAutostart:
    domain_uuid: str
    autostart: bool
    hazards: tuple[Hazard, ...] = ()
    quiet: ClassVar[bool] = False

    @property
    def text(self) -> str:
        return f"set autostart {'on' if self.autostart else 'off'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartDomain:
    domain_uuid: str
    hazards: tuple[Hazard, ...] = ()
    quiet: ClassVar[bool] = False

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
    | DefineDomain
    | RenewMark
    | SetAutostart
    | StartDomain
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainPlan:
    """What one domain needs, in order. A problem holds the whole domain back."""

    name: str
    actions: tuple[Action, ...] = ()
    problems: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    domains: tuple[DomainPlan, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing worth a word is left to do."""
        return not any(domain.problems or any(not a.quiet for a in domain.actions) for domain in self.domains)


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
