"""The only writer of this host's own files: a file exists whole or not at all, and no link to it is followed.

A file is written under a name that cannot be predicted, in the folder that was opened once, and renamed. Its writer
holds a lock on that half file: a half file without a lock is what a killed run left, and the next writer removes it.
"""

import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from virtrbd.errors import DeniedError, VirtrbdError

# No file of the state directory and no spec has such a name: their names have no plus sign.
_HALF = re.compile(r"\.virtrbd\+[0-9a-f]{16}\.part")


def write_whole(file: str | os.PathLike[str], content: bytes, mode: int, *, synced: bool = True) -> None:
    """Write a file with this mode, under any umask; a regular file of that name is replaced.

    `synced`: file and name are on disk when this returns. Raises OSError, also where a link, a folder or a device has
    the name: a rename would replace those too.
    """
    folder, name = os.path.split(file)
    with opened_folder(folder) as descriptor:
        remove_half_files(descriptor, os.listdir(descriptor))
        write_whole_in(descriptor, name, content, mode, synced=synced)


def write_whole_in(folder: int, name: str, content: bytes, mode: int, *, synced: bool = True) -> None:
    """Write a file as write_whole does, into an open folder, without removing what killed runs left there."""
    refuse_special(folder, name)
    with _half_file(folder, content, mode, synced=synced) as half:
        os.rename(half, name, src_dir_fd=folder, dst_dir_fd=folder)


def write_unless_taken(file: str | os.PathLike[str], content: bytes, mode: int) -> None:
    """Write a file as write_whole does, but replace nothing. Raises OSError, FileExistsError for a taken name."""
    folder, name = os.path.split(file)
    with opened_folder(folder) as descriptor:
        remove_half_files(descriptor, os.listdir(descriptor))
        with _half_file(descriptor, content, mode, synced=True) as half:
            # os.link refuses a name that is taken.
            os.link(half, name, src_dir_fd=descriptor, dst_dir_fd=descriptor, follow_symlinks=False)
            os.unlink(half, dir_fd=descriptor)


def cannot_write(file: str | os.PathLike[str], error: OSError, way_out: str) -> VirtrbdError:
    """Return the error for a file that cannot be written: thing, fact, way out."""
    kind = DeniedError if isinstance(error, PermissionError) else VirtrbdError
    return kind(f"{os.fspath(file)}: {error.strerror}; {way_out}")


@contextmanager
def opened_folder(path: str, flags: int = 0) -> Iterator[int]:
    """Open a folder, "" for the working directory, and close it at the end. Raises OSError."""
    folder = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | flags)
    try:
        yield folder
    finally:
        os.close(folder)


def refuse_special(folder: int, name: str) -> None:
    """Raise OSError where the name is not free and not a regular file's: /dev/null is renamed over like any other."""
    if not name:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    with suppress(FileNotFoundError):
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EEXIST, "Is a link" if stat.S_ISLNK(mode) else "Is not a regular file")


def remove_half_files(folder: int, names: Iterable[str]) -> None:
    """Remove what killed runs of this user left half-written in an open folder, under these names."""
    for name in filter(_HALF.fullmatch, names):
        _remove_unlocked(folder, name)


def _remove_unlocked(folder: int, name: str) -> None:
    with suppress(OSError):
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        try:
            found = os.fstat(descriptor)
            if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(name, dir_fd=folder)
        finally:
            os.close(descriptor)


@contextmanager
def _half_file(folder: int, content: bytes, mode: int, *, synced: bool) -> Iterator[str]:
    """Write a half file and yield its name, for the caller to rename; it is removed where that fails."""
    name, descriptor = _new_half(folder)
    try:
        with open(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            # Only now, and not by os.open: the umask removes bits from its mode.
            os.fchmod(descriptor, mode)
            if synced:
                os.fsync(descriptor)
            yield name
        if synced:
            os.fsync(folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(name, dir_fd=folder)
        raise


def _new_half(folder: int) -> tuple[str, int]:
    """Return the name and the descriptor of a new, locked half file."""
    while True:
        name = f".virtrbd+{os.urandom(8).hex()}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name, flags, 0o600, dir_fd=folder)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            is_taken = True
        except OSError:
            # A file system without locks: then no run can lock, and nothing is removed.
            is_taken = False
        else:
            is_taken = os.fstat(descriptor).st_nlink == 0
        if not is_taken:
            return name, descriptor
        # Another run took it for a killed run's before it was locked, and removes it.
        os.close(descriptor)
