"""The error tree and the exit codes: every way in which a run can end."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes are an interface: cron jobs and scripts branch on them. 1 and 2 are never meant."""

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
    """The command line asks for something that makes no sense."""

    exit_code = ExitCode.USAGE


class DefectError(VirtrbdError):
    """An exception that virtrbd did not foresee, contained: only what it was met at fails.

    `trace` names places in the code and no values: a value may be a secret.
    """

    exit_code = ExitCode.BUG

    def __init__(self, message: str, trace: tuple[str, ...]) -> None:
        super().__init__(message)
        self.trace = trace


class SpecError(VirtrbdError):
    """Spec files are wrong; one message per problem, all of them.

    `defects`: what of it is virtrbd's own fault, met at one spec; then the exit code is theirs.
    """

    exit_code = ExitCode.SPEC

    def __init__(self, *problems: str, defects: tuple[DefectError, ...] = ()) -> None:
        super().__init__(*problems, *(message for defect in defects for message in defect.messages))
        self.problems = problems
        self.defects = defects
        if defects:
            self.exit_code = ExitCode.BUG


class ConfigError(VirtrbdError):
    """The settings, or what they point to, are wrong."""

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
    """Doing it needs a permission that was not given; the message names the flag."""

    exit_code = ExitCode.BLOCKED


class HypervisorError(VirtrbdError):
    """libvirt refused a call for a reason of its own."""


class DocumentError(VirtrbdError):
    """A domain's XML cannot be read, or not be edited without losing what others wrote into it."""


class NotLiveError(HypervisorError):
    """A running guest does not take a change now; its definition has it, and so will its next boot."""

    exit_code = ExitCode.OK


class ClusterError(VirtrbdError):
    """Ceph refused a call for a reason of its own."""


class ImageBusyError(ClusterError):
    """Another client has the image open read-write."""

    def __init__(self, message: str, watchers: tuple[str, ...]) -> None:
        super().__init__(message)
        self.watchers = watchers


class ImageExistsError(ClusterError):
    """An image of that name was there when one was to be made: it is surely not the one."""


# Worst first: a run that met several ends keeps the one an operator must see first.
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
    """Return the code that wins when several ends meet; OK when there are none."""
    return min(codes, key=_SEVERITY.index, default=ExitCode.OK)
