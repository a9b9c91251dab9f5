"""The file that an image is imported from: opened once, recognised by its bytes, and protected while it is read.

Every reader uses this descriptor. So the very file that was checked is copied, even after a rename.
"""

import errno
import fcntl
import os
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct

from virtrbd.deadline import call_within
from virtrbd.errors import DeniedError, SpecError, VirtrbdError
from virtrbd.model.record import replace
from virtrbd.printable import quoted
from virtrbd.qemu.formats.image_bytes import ImageBytes
from virtrbd.qemu.formats.look import Look
from virtrbd.trust import require_beneath, weakness

# A file on a server that is gone never answers.
ANSWERS_WITHIN_S = 60.0
_NAME_ANOTHER = "name a regular file or a block device"
# Opening alone may have an effect: a FIFO waits for its writer, a watchdog begins to count.
_NEVER_OPENED = (
    (stat.S_ISDIR, "a folder", "name the file in it"),
    (stat.S_ISFIFO, "a FIFO", "pipe the data into virtrbd image import - IMAGE"),
    (stat.S_ISCHR, "a character device", _NAME_ANOTHER),
    (stat.S_ISSOCK, "a socket", _NAME_ANOTHER),
)


class OpenFile(Struct, frozen=True, kw_only=True):
    """An open file, or a part of it: `descriptor` is what is read, from `at` on; `path` is its name for messages.

    `stat` is from its opening. `is_leased`: the kernel delays a program that wants to write to it, and reports that.
    `is_own`: virtrbd wrote it, where no other user can. `checksum`: of the outermost file, where it was computed.
    `identity` identifies the file with its content of then; so does `content_key`, even after a clock was set
    back.
    """

    path: str
    descriptor: int
    stat: os.stat_result
    length: int
    identity: str
    content_key: str
    at: int = 0
    is_leased: bool = False
    is_own: bool = False
    checksum: str = ""

    @property
    def is_block_device(self) -> bool:
        """Whether it is a block device, for which QEMU has another driver."""
        return stat.S_ISBLK(self.stat.st_mode)

    @property
    def is_part(self) -> bool:
        """Whether it is only a part of what the descriptor reads."""
        return stat.S_ISREG(self.stat.st_mode) and (self.at, self.length) != (0, self.stat.st_size)

    @property
    def image(self) -> ImageBytes:
        """Its bytes."""

        def read_at(at: int, count: int) -> bytes:
            return os.pread(self.descriptor, max(0, min(count, self.length - at)), self.at + at)

        return ImageBytes(name=self.path, length=self.length, read_at=read_at)

    def part(self, name: str, at: int, length: int) -> "OpenFile":
        """Return a part of it."""
        return replace(
            self,
            path=f"{self.path} ({name})",
            at=self.at + at,
            length=length,
            identity=f"{self.identity} {name}",
            content_key=f"{self.content_key} {at}+{length}",
        )

    def require_still(self) -> None:
        """Raise VirtrbdError where the file was written to since it was opened, or another program waits to do so.

        A header that is exchanged after the check could lead QEMU to other files.
        """
        if self.is_own:
            return
        if self.is_leased:
            is_written = fcntl.fcntl(self.descriptor, fcntl.F_GETLEASE) == fcntl.F_UNLCK
        else:
            is_written = not self.is_block_device and _written(os.fstat(self.descriptor)) != _written(self.stat)
        if is_written:
            raise VirtrbdError(f"{self.path}: changed while it was read; wait until it is whole, then run again")


class Source(Struct, frozen=True, kw_only=True):
    """A file that is a disk, and its facts."""

    file: OpenFile
    look: Look

    @property
    def path(self) -> str:
        """The name of the file, for messages."""
        return self.file.path

    @property
    def size_bytes(self) -> int:
        """The size of the disk that the file holds."""
        return self.look.size_bytes

    @property
    def is_readable_by_all(self) -> bool:
        """Whether any user of this host who can reach its folder may open it."""
        return bool(self.file.stat.st_mode & stat.S_IROTH)


@contextmanager
def open_file(path: str, *, beneath: tuple[str, ...] | None = None) -> Iterator[OpenFile]:
    """Open a file, and protect it against changes.

    `beneath`: the folders that it must lie beneath, None where the operator named it. Raises SpecError, OutsideError,
    DeniedError, UnavailableError.
    """
    opened = call_within(ANSWERS_WITHIN_S, path, lambda: _opened(path, beneath))
    try:
        yield opened
    finally:
        os.close(opened.descriptor)


def _opened(path: str, beneath: tuple[str, ...] | None) -> OpenFile:
    try:
        real = _without_safe_links(path)
        found = os.lstat(real)
        _require_openable(path, found)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        descriptor = os.open(real, flags)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    try:
        opened = os.fstat(descriptor)
        if (opened.st_dev, opened.st_ino, opened.st_mode) != (found.st_dev, found.st_ino, found.st_mode):
            raise VirtrbdError(f"{path}: was exchanged while it was opened; run again")
        if beneath is not None:
            require_beneath(descriptor, path, beneath)
        is_leased = _lease(path, descriptor, opened)
        length = os.lseek(descriptor, 0, os.SEEK_END)
    except OSError as error:
        os.close(descriptor)
        raise unreadable(path, error) from None
    except BaseException:
        os.close(descriptor)
        raise
    return OpenFile(
        path=path,
        descriptor=descriptor,
        stat=opened,
        length=length,
        identity=f"{os.path.realpath(path)} {opened.st_size} {opened.st_mtime_ns}",
        content_key=" ".join(map(str, (opened.st_dev, opened.st_ino, *_written(opened)))),
        is_leased=is_leased,
    )


def _without_safe_links(path: str) -> str:
    """Return the target of a link that no other user can change, like LVM's in /dev; any other path as it is."""
    is_safe = os.path.islink(path) and weakness(path) is None
    return os.path.realpath(path) if is_safe else path


def _require_openable(path: str, found: os.stat_result) -> None:
    """Raise SpecError for a file that is neither regular nor a block device, and for a link of another user."""
    is_link = stat.S_ISLNK(found.st_mode)
    mode = os.stat(path).st_mode if is_link else found.st_mode
    for is_kind, what, way_out in _NEVER_OPENED:
        if is_kind(mode):
            raise SpecError(f"{path}: is {what}; {way_out}")
    if is_link:
        fact = "is a link that another user can change, which may lead elsewhere at any moment"
        raise SpecError(f"{path}: {fact}; write {os.path.realpath(path)}")


def _lease(path: str, descriptor: int, found: os.stat_result) -> bool:
    """Let the kernel delay programs that want to write to the file; return whether it can (over NFS it can't).

    Raises VirtrbdError where another program has the file open for writing already.
    """
    if not stat.S_ISREG(found.st_mode):
        return False
    try:
        # Its own signal, SIGIO, would end this process. The descriptor is polled instead.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            text = "another program has it open for writing; wait until it is whole, or copy it first"
            raise VirtrbdError(f"{path}: {text}") from None
        return False
    return True


def _written(found: os.stat_result) -> tuple[int, ...]:
    """Return the values that differ after the file was written to; no program can set st_ctime."""
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def unreadable(path: str, error: Exception) -> VirtrbdError:
    """Return the error for a file that cannot be opened or read."""
    match error:
        case FileNotFoundError() | NotADirectoryError():
            return SpecError(f"{path}: no such file; check the path")
        case PermissionError():
            return DeniedError(f"{path}: permission denied; run as a user that may read it")
        case OSError():
            return SpecError(f"{path}: {error.strerror}; {_NAME_ANOTHER}")
        case _:
            return SpecError(f"{quoted(path)}: is not a path; {_NAME_ANOTHER}")
