"""Plans: what would be done, as data, and its outcome."""

from enum import StrEnum

from msgspec import Struct

from virtrbd.errors import ExitCode
from virtrbd.model.actions import Action
from virtrbd.model.failure import Failure
from virtrbd.model.lint import Lint
from virtrbd.model.power import PowerState


class FindingKind(StrEnum):
    """The kinds of facts that the operator should know and that no run mends."""

    PENDING = "pending restart"
    ASKED = "asked of the guest"
    FOREIGN = "changed by others"
    ORPHAN = "orphan"
    REBUILD = "rebuild"
    HELD = "held"
    SAVED = "managed save"
    PAUSED = "paused"
    MONITORS = "stale monitors"
    UNREAD = "cannot be read"
    NOT_XML = "not XML"


class Finding(Struct, frozen=True, kw_only=True, order=True):
    """One fact that the operator should know. `subject` distinguishes it from others of its kind (a path)."""

    domain: str
    kind: FindingKind
    subject: str = ""
    text: str

    def __str__(self) -> str:
        return f"{self.domain}: {self.kind}: {self.text}"


class DomainPlan(Struct, frozen=True, kw_only=True):
    """What one domain needs, in order. A problem holds back the whole domain; lints and findings hold back nothing.

    `failures`: why it cannot be planned: it, or an image of it, cannot be read. `held_back`: why nothing of it
    may be done now. `exists`: libvirt holds it already, and virtrbd owns it. `judged`: the digest of its documents
    where there is nothing to do and nothing to report, else empty.
    """

    name: str
    actions: tuple[Action, ...] = ()
    problems: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    note: str = ""
    lints: tuple[Lint, ...] = ()
    findings: tuple[Finding, ...] = ()
    held_back: tuple[str, ...] = ()
    uuid: str = ""
    exists: bool = False
    judged: str = ""


class Plan(Struct, frozen=True, kw_only=True):
    """What all domains need, by name. `stopped`: why nothing may be done. `states`: of all domains of this host."""

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


class Outcome(Struct, frozen=True, kw_only=True):
    """The outcome of one action; `exit_code`: the run's, if this were its only action.

    `trace`: where in the code a defect occurred.
    """

    domain: str
    text: str
    result: Result
    detail: str = ""
    quiet: bool = False
    exit_code: ExitCode = ExitCode.OK
    trace: tuple[str, ...] = ()
