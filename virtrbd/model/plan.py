"""Plans: what would be done, as data, and what became of it."""

from dataclasses import dataclass
from enum import StrEnum

from virtrbd.errors import ExitCode
from virtrbd.model.actions import Action
from virtrbd.model.domain import PowerState
from virtrbd.model.failure import Failure
from virtrbd.model.lint import Lint


class FindingKind(StrEnum):
    """What a person should know of, and no run mends."""

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

    `failures`: why it cannot be planned at all: it, or an image of it, cannot be read. `held_back`: why nothing of it
    may be done now. `exists`: libvirt holds it already, as ours. `judged`: the digest of documents in which there is
    nothing to do and nothing to say, empty where that is not so.
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
    """What became of one action; `exit_code` is what it alone would end the run with.

    `trace`: where in the code a defect was met.
    """

    domain: str
    text: str
    result: Result
    detail: str = ""
    quiet: bool = False
    exit_code: ExitCode = ExitCode.OK
    trace: tuple[str, ...] = ()
