"""Starts that are under way on this host: those that virtrbd itself makes, and those that libvirt's hook keeps safe.

An empty file for each, named by libvirt's UUID of the domain, and locked as long as its process lives: so a kill ends
what it says.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from virtrbd.local.write_whole import cannot_write

_LOOK_EVERY_S = 0.05
_WAY_OUT = "free space there"


@contextmanager
def own_start(folder: Path, uuid: str) -> Iterator[None]:
    """While the block runs, virtrbd starts the domain, and keeps its images open: the hook has nothing to check.

    Raises VirtrbdError, DeniedError.
    """
    file = folder / f"{uuid}.own"
    try:
        descriptor = _open(file, os.O_CREAT)
    except OSError as error:
        raise cannot_write(file, error, _WAY_OUT) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        # One run at a time starts a domain (its lock), so no other run has just opened this file.
        file.unlink(missing_ok=True)
        os.close(descriptor)


def is_own_start(folder: Path, uuid: str) -> bool:
    """Whether virtrbd is starting the domain."""
    return _is_held(folder / f"{uuid}.own")


class Kept:
    """A start for which this process keeps something open, until another process ends that."""

    def __init__(self, file: Path) -> None:
        """Raises VirtrbdError, DeniedError."""
        self._file = file
        try:
            # The keeper of an earlier start sees that its file is gone, and leaves.
            file.unlink(missing_ok=True)
            self._descriptor = _open(file, os.O_CREAT | os.O_EXCL)
        except OSError as error:
            raise cannot_write(file, error, _WAY_OUT) from error
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def is_over(self, timeout_s: float) -> bool:
        """Wait until another process has ended it; return whether that happened in time."""
        give_up_at = time.monotonic() + timeout_s
        while os.fstat(self._descriptor).st_nlink:
            if time.monotonic() >= give_up_at:
                return False
            time.sleep(_LOOK_EVERY_S)
        return True

    def give_up(self) -> None:
        """Forget the start."""
        if os.fstat(self._descriptor).st_nlink:
            self._file.unlink(missing_ok=True)


def keep_start(folder: Path, uuid: str) -> Kept:
    """Return the record of a start that the hook let pass."""
    return Kept(folder / uuid)


def end_start(folder: Path, uuid: str) -> None:
    """Let the keeper of a start leave: the guest runs, so that its QEMU has the images open, or it was ended."""
    (folder / uuid).unlink(missing_ok=True)


def keep_migration(folder: Path, uuid: str) -> Kept:
    """Return the record of a migration to this host that the hook let pass, and whose start is still to come."""
    return Kept(folder / f"{uuid}.incoming")


def take_migration(folder: Path, uuid: str) -> bool:
    """Whether the start that begins now is that of a migration which a living process keeps: once for each."""
    file = folder / f"{uuid}.incoming"
    is_held = _is_held(file)
    with suppress(FileNotFoundError):
        file.unlink()
        return is_held
    return False


def _is_held(file: Path) -> bool:
    """Whether a living process has locked the file."""
    try:
        descriptor = _open(file)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _open(file: Path, flags: int = 0) -> int:
    return os.open(file, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o600)
