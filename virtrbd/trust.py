"""Trust in files: who else could change a file, and beneath which folders it really lies.

virtrbd runs as root. A settings file that another user may write, or a link that a spec's author put beside the spec,
would let that user decide what root reads and does.
"""

import errno
import os
import stat
from collections.abc import Iterable

from msgspec import Struct

from virtrbd.errors import ExitCode, VirtrbdError
from virtrbd.printable import shell_command

# The number of links that the kernel follows (path_resolution(7)).
_MOST_LINKS = 40
_LOOSE = stat.S_IWGRP | stat.S_IWOTH
# Where root's files are safe, on any host.
_SAFE_FOLDER = "/etc/virtrbd"
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISSOCK, "a socket"),
)


class Weakness(Struct, frozen=True, kw_only=True):
    """What lets another user change a file: a part of its path, what is wrong with it, and the way out."""

    path: str
    fact: str
    way_out: str

    def of(self, path: str) -> str:
        """Return the message about a path that leads through this, to follow the path's name."""
        return self.fact if self.path == os.path.abspath(path) else f"{self.path} {self.fact}"


class OutsideError(VirtrbdError):
    """A file lies outside the folders that it may lie in; `real` is where its links lead."""

    exit_code = ExitCode.SPEC

    def __init__(self, path: str, real: str) -> None:
        super().__init__(f"{path} leads to {real}, outside the folders that specs may read")
        self.real = real


def weakness(path: str) -> Weakness | None:
    """Return the first folder, link or file on the way to the path which another user could change, or None.

    virtrbd trusts root and the user that it runs as. Raises OSError.
    """
    here, links = "/", 0
    todo = _parts(path if path.startswith("/") else os.path.join(os.getcwd(), path))
    if found := weakness_of(here, os.lstat(here), parts_below=len(todo)):
        return found
    while todo:
        name = todo.pop()
        if name == "..":
            here = os.path.dirname(here)
            continue
        there = os.path.join(here, name)
        status = _lstat(there)
        if found := weakness_of(there, status, parts_below=len(todo)):
            return found
        if not stat.S_ISLNK(status.st_mode):
            here = there
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        target = os.readlink(there)
        here = "/" if target.startswith("/") else here
        todo += _parts(target)
    return None


def weakness_of(path: str, status: os.stat_result, *, parts_below: int = 0) -> Weakness | None:
    """Return the weakness of one file or folder, on the way to a file so many parts below it.

    In a folder with the sticky bit, like /tmp, others can't replace files that are not theirs: as a parent it is safe.
    """
    if status.st_uid not in (0, os.geteuid()):
        fact = f"belongs to user {_user(status.st_uid)}"
        can_mend = parts_below == 0 and not stat.S_ISDIR(status.st_mode)
        command = f"chown -h {_user(os.geteuid())}" if stat.S_ISLNK(status.st_mode) else f"chown {_user(os.geteuid())}"
        return Weakness(path=path, fact=fact, way_out=_way_out(path, status, command, parts_below, can_mend=can_mend))
    loose = status.st_mode & _LOOSE
    if loose & stat.S_IWGRP and _is_private_group(status):
        loose &= ~stat.S_IWGRP
    is_sticky = bool(status.st_mode & stat.S_ISVTX)
    if not loose or (parts_below and is_sticky) or stat.S_ISLNK(status.st_mode):
        return None
    mode = f"{stat.S_IMODE(status.st_mode):04o}"
    who = "others" if loose & stat.S_IWOTH else f"group {_group(status.st_gid)}"
    can_mend = parts_below <= 1 and not is_sticky
    way_out = _way_out(path, status, "chmod go-w", parts_below, can_mend=can_mend)
    return Weakness(path=path, fact=f"is writable by {who} (mode {mode})", way_out=way_out)


def kind_of(mode: int) -> str:
    """Return the kind of a file that is not regular, else ""."""
    return next((kind for is_kind, kind in _KINDS if is_kind(mode)), "")


def _way_out(path: str, status: os.stat_result, command: str, parts_below: int, *, can_mend: bool) -> str:
    """Return the command where it does not take rights that others need, else where to put the file.

    A home, a shared folder and a device have their rights for their users. The folders above /etc/virtrbd do not:
    no other place would be better.
    """
    is_ordinary = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode)
    if (can_mend and is_ordinary) or is_beneath(_SAFE_FOLDER, [path]):
        return shell_command(command, path)
    what = "its files" if parts_below == 0 and stat.S_ISDIR(status.st_mode) else "it"
    example = f", such as {_SAFE_FOLDER}" if os.geteuid() == 0 else ""
    return f"put {what} into a folder that only {_user(os.geteuid())} may write{example}"


def open_beneath(path: str, folders: Iterable[str]) -> int:
    """Return a descriptor of a regular file, for reading, that lies beneath one of the folders.

    Links are followed first, and the very file that was checked is opened: a link that is changed meanwhile changes
    nothing. Other kinds of files are never opened, because opening alone has effects: it arms a watchdog, and waits
    for the writer of a FIFO. Raises OutsideError, OSError.
    """
    handle = _handle(path)
    try:
        require_beneath(handle, path, folders)
        return _opened(handle)
    finally:
        os.close(handle)


def require_beneath(descriptor: int, path: str, folders: Iterable[str]) -> None:
    """Raise OutsideError unless the file that was opened by this path lies beneath one of the folders."""
    real = os.readlink(f"/proc/self/fd/{descriptor}")
    if not is_beneath(real, folders):
        raise OutsideError(path, real)


def open_regular(path: str) -> int:
    """Return a descriptor of a regular file, for reading, wherever it lies. Raises OSError."""
    handle = _handle(path)
    try:
        return _opened(handle)
    finally:
        os.close(handle)


def open_entry(path: str) -> int | None:
    """Return a descriptor of a regular file that lies in its folder itself, None for a link. Raises OSError.

    This is the quick way to read a whole folder.
    """
    try:
        # Not waiting for the writer of a FIFO; only root could make a device's file in a folder of specs.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise
    try:
        _require_file(os.fstat(descriptor).st_mode)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def is_beneath(real: str, folders: Iterable[str]) -> bool:
    """Whether a path without links lies beneath one of the folders, which may be links themselves."""
    # The first folders of a path without links have no links either: most paths need no look at the disk.
    return any(_begins(real, folder) or _begins(real, os.path.realpath(folder)) for folder in folders)


def _begins(real: str, folder: str) -> bool:
    return real == folder or real.startswith(folder.rstrip("/") + "/")


def _parts(path: str) -> list[str]:
    """Return the parts of a path, the first part last."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


def _handle(path: str) -> int:
    """Return a descriptor that names the file without opening it (O_PATH). Raises OSError."""
    try:
        return os.open(path, os.O_PATH | os.O_CLOEXEC)
    except ValueError:
        raise OSError(errno.EINVAL, "a file cannot have that name") from None


def _lstat(path: str) -> os.stat_result:
    try:
        return os.lstat(path)
    except ValueError:
        raise OSError(errno.EINVAL, "a file cannot have that name") from None


def _opened(handle: int) -> int:
    _require_file(os.fstat(handle).st_mode)
    return os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_CLOEXEC)


def _require_file(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file")


def _is_private_group(status: os.stat_result) -> bool:
    """Whether a user's file is writable by a group that is this user alone, as umask 002 makes it on Red Hat's systems.

    Never for root, nor for root's files.
    """
    if os.geteuid() == 0 or status.st_uid == 0:
        return False
    import grp

    try:
        group = grp.getgrgid(status.st_gid)
    except KeyError:
        return False
    name = _user(status.st_uid)
    return group.gr_name == name and set(group.gr_mem) <= {name}


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
