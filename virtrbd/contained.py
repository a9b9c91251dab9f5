"""Containment: an exception that virtrbd did not foresee fails one domain, image or action, not the run."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from virtrbd.errors import DefectError, VirtrbdError

# The frames nearest to the exception: a recursion that ran too deep has a thousand of them.
_MOST_FRAMES = 30


@contextmanager
def contained(what: str) -> Iterator[None]:
    """Raise DefectError, which names `what`, for any exception that is not a VirtrbdError.

    Ctrl-C, SIGTERM and a closed pipe end the run: they are not about `what`.
    """
    try:
        yield
    except (VirtrbdError, BrokenPipeError):
        raise
    except Exception as error:
        kind = type(error).__name__
        message = f"{what}: virtrbd cannot handle this ({kind}); this is a bug, please report it with the trace"
        # Not `from error`: its text may repeat a secret of a spec or a guest.
        raise DefectError(message, trace_of(error)) from None


def trace_of(error: BaseException) -> tuple[str, ...]:
    """Return where the exception came from, a line a frame, innermost last; without values."""
    frames = traceback.extract_tb(error.__traceback__)[-_MOST_FRAMES:]
    places = (f"{frame.filename.rpartition('/virtrbd/')[2]}:{frame.lineno} in {frame.name}" for frame in frames)
    return (*places, type(error).__name__)
