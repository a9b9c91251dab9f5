"""The errors and the exit codes: every way in which a run can end."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes are an interface: cron jobs and scripts branch on them. 1 and 2 are never used."""

    OK = 0
    DRIFT = 3
    BLOCKED = 4
    FAILED = 5
    USAGE = 64
    SPEC = 65
    UNAVAILABLE = 69
    BUG = 70
    BUSY = 75
    DENIED = 77
    CONFIG = 78
    HUNG_UP = 129
    INTERRUPTED = 130
    CLOSED_PIPE = 141
    TERMINATED = 143


class VirtrbdError(Exception):
    """An expected failure: each message, one line, names the thing, the fact and the way out."""

    exit_code = ExitCode.FAILED

    def __init__(self, *messages: str) -> None:
        super().__init__("\n".join(messages))
        self.messages = messages

    @property
    def as_line(self) -> str:
        """All messages, for a place that has room for one line."""
        return "; ".join(self.messages)


class UsageError(VirtrbdError):
    """The command line makes no sense."""

    exit_code = ExitCode.USAGE


class DefectError(VirtrbdError):
    """An exception that virtrbd did not foresee, contained: only its own domain, image or action fails.

    `trace` names places in the code and no values: a value may be a secret.
    """

    exit_code = ExitCode.BUG

    def __init__(self, message: str, trace: tuple[str, ...]) -> None:
        super().__init__(message)
        self.trace = trace


class SpecError(VirtrbdError):
    """Spec files are wrong; one message per problem, all of them.

    `defects`: the errors that are defects of virtrbd, each at one spec; they then decide the exit code.
    """

    exit_code = ExitCode.SPEC

    def __init__(self, *problems: str, defects: tuple[DefectError, ...] = ()) -> None:
        super().__init__(*problems, *(message for defect in defects for message in defect.messages))
        self.problems = problems
        self.defects = defects
        if defects:
            self.exit_code = ExitCode.BUG


class ConfigError(VirtrbdError):
    """The settings, or a file that they name, are wrong."""

    exit_code = ExitCode.CONFIG


class UnavailableError(VirtrbdError):
    """libvirt or Ceph cannot be reached, or did not answer in time."""

    exit_code = ExitCode.UNAVAILABLE


class DeniedError(VirtrbdError):
    """cephx, polkit or a file permission says no."""

    exit_code = ExitCode.DENIED


class BusyError(VirtrbdError):
    """Another run holds the lock: `holder`, `since` in seconds since 1970."""

    exit_code = ExitCode.BUSY

    def __init__(self, message: str, *, holder: str = "another run", since: float = 0.0) -> None:
        super().__init__(message)
        self.holder = holder
        self.since = since


class BlockedError(VirtrbdError):
    """The action needs a permission that was not given; the message names the flag."""

    exit_code = ExitCode.BLOCKED


class NotDoneError(VirtrbdError):
    """An action of a plan was not done; its outcome has the reason and the exit code."""

    def __init__(self, message: str, exit_code: ExitCode) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class HypervisorError(VirtrbdError):
    """libvirt refused a call."""


class DocumentError(VirtrbdError):
    """A domain's XML cannot be read, or not be edited without losing what others wrote into it."""


class NotLiveError(HypervisorError):
    """A running guest does not take a change now; its definition has it, and its next boot will."""

    exit_code = ExitCode.OK


class ClusterError(VirtrbdError):
    """Ceph refused a call."""


class ImageBusyError(ClusterError):
    """Another client has the image open read-write."""

    def __init__(self, message: str, watchers: tuple[str, ...]) -> None:
        super().__init__(message)
        self.watchers = watchers


class ImageExistsError(ClusterError):
    """An image of that name existed when a new one was to be made: so it is surely another image."""


# Worst first: of several, a run ends with the code that the operator must see first.
_SEVERITY = (
    ExitCode.BUG,
    ExitCode.TERMINATED,
    ExitCode.INTERRUPTED,
    ExitCode.HUNG_UP,
    ExitCode.CLOSED_PIPE,
    ExitCode.USAGE,
    ExitCode.CONFIG,
    ExitCode.DENIED,
    ExitCode.UNAVAILABLE,
    ExitCode.SPEC,
    ExitCode.FAILED,
    ExitCode.BUSY,
    ExitCode.BLOCKED,
    ExitCode.DRIFT,
    ExitCode.OK,
)


def worst(*codes: ExitCode) -> ExitCode:
    """Return the worst of several codes; OK when there are none."""
    return min(codes, key=_SEVERITY.index, default=ExitCode.OK)
