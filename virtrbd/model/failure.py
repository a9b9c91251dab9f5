"""The failure of one domain, image or spec, as data: the run goes on with the others."""

from msgspec import Struct

from virtrbd.errors import DefectError, ExitCode, VirtrbdError


class Failure(Struct, frozen=True, kw_only=True):
    """Why one thing failed. `trace` is empty except for a defect of virtrbd itself; it holds no values."""

    text: str
    exit_code: ExitCode
    trace: tuple[str, ...] = ()


def failure_of(error: VirtrbdError) -> Failure:
    """Return the error as data."""
    trace = error.trace if isinstance(error, DefectError) else ()
    return Failure(text=error.as_line, exit_code=error.exit_code, trace=trace)
