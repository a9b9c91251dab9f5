"""The lock of a domain or an image: a file of this host, which names its holder."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from virtrbd.errors import BusyError

# What every run does beside its own work, to any image: no command that names the image fails for that moment.
MARKING = "image mark"
_MARKING_ENDS_S = 3.0
_LOOK_AGAIN_S = 0.02
_NAMELESS = "another run"


@contextmanager
def file_lock(file: Path, name: str, verb: str) -> Iterator[None]:
    """Hold the lock of a domain or an image. Raises BusyError, which names the holder, and OSError."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "r+b", buffering=0):
        ends = time.monotonic() + _MARKING_ENDS_S
        while holder := _holder(descriptor):
            # A holder is nameless for a moment after it has the lock, and before it gives it up.
            if time.monotonic() < ends and holder.startswith((_named(MARKING), _NAMELESS)):
                time.sleep(_LOOK_AGAIN_S)
                continue
            message = f"{name.strip()}: {holder} is at work on it; try again when it is done"
            # The holder wrote its name when it got the lock, and nothing since.
            raise BusyError(message, holder=holder, since=os.fstat(descriptor).st_mtime)
        _note(descriptor, f"{_named(verb)}{os.getpid()})")
        # The lock ends with the process, even after a kill; the file stays, so that no run locks a removed file.
        yield
        _note(descriptor, "")


def _holder(descriptor: int) -> str:
    """Take the lock, or return who holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(descriptor, 200, 0).decode(errors="replace").strip() or _NAMELESS
    return ""


def _named(verb: str) -> str:
    return f"virtrbd {verb} (pid "


def _note(descriptor: int, text: str) -> None:
    """Write the holder of a lock; on a full disk the holder is not named, and the lock still holds."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)
