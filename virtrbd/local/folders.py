"""Folders of this host's own files: made for their owner only, and not used where others may write."""

import os
import stat
from contextlib import suppress
from functools import cache
from pathlib import Path

from virtrbd.errors import ConfigError
from virtrbd.printable import shell_command

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def make_private(folder: Path) -> None:
    """Make a folder and all that are missing above it, each 0700 whatever the umask. Raises OSError."""
    missing = [each for each in (folder, *folder.parents) if not os.path.lexists(each)]
    for each in reversed(missing):
        # Another run may have made it just now.
        with suppress(FileExistsError):
            each.mkdir(mode=0o700)
            each.chmod(0o700)


def refuse_shared(folder: Path, setting: str) -> None:
    """Raise ConfigError where another user may change the folder's content, or replace the folder.

    A missing folder is fine. Raises OSError where it cannot be looked at.
    """
    try:
        found = folder.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return
    if stat.S_ISLNK(found.st_mode):
        raise ConfigError(f"{folder}: is a link; write the folder itself into {setting}: {os.path.realpath(folder)}")
    if found.st_uid not in (0, os.geteuid()):
        raise ConfigError(f"{folder}: belongs to user {found.st_uid}; set {setting} to a folder of your own")
    if stat.S_ISDIR(found.st_mode) and found.st_mode & _OTHERS_WRITE:
        # A sticky folder is for all users, like /tmp.
        is_shared = found.st_mode & stat.S_ISVTX
        mend = f"set {setting} to a folder of your own" if is_shared else shell_command("chmod -R go-w", folder)
        raise ConfigError(f"{folder}: others may write into it ({_octal(found)}); {mend}")
    for parent in folder.absolute().parents:
        above = parent.stat()
        # Not its group: users of one group share a checkout, and a lab lies in one.
        if above.st_mode & stat.S_IWOTH and not above.st_mode & stat.S_ISVTX:
            is_near = parent == folder.absolute().parent and above.st_uid in (0, os.geteuid())
            mend = shell_command("chmod o-w", parent) if is_near else f"set {setting} to a folder elsewhere"
            raise ConfigError(f"{folder}: any user may replace it, by {parent} ({_octal(above)}); {mend}")


def _octal(found: os.stat_result) -> str:
    return f"mode {stat.S_IMODE(found.st_mode):04o}"


def cache_folder() -> str:
    """Return the folder of data that can be made or fetched again, apart from the state directory."""
    system = "/var/cache" if os.geteuid() == 0 else os.path.expanduser("~/.cache")
    named = os.environ.get("XDG_CACHE_HOME", "")
    # A relative path must be ignored (XDG Base Directory Specification).
    return os.path.join(named if os.path.isabs(named) else system, "virtrbd")


@cache
def is_own(folder: str) -> bool:
    """Whether only this user and root can change what a path leads to: no part of it, and no link in it, is another's.

    A missing part belongs to no user yet. Raises OSError where a part of it cannot be looked at.
    """
    path, real = Path(folder).absolute(), Path(os.path.realpath(folder))
    return all(map(_is_own, dict.fromkeys((path, *path.parents, real, *real.parents))))


def _is_own(path: Path) -> bool:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return True
    if found.st_uid not in (0, os.geteuid()):
        return False
    # In a folder with the sticky bit only the owner of a file may rename it. A link's own mode says nothing.
    is_guarded = stat.S_ISLNK(found.st_mode) or bool(found.st_mode & stat.S_ISVTX)
    return is_guarded or not found.st_mode & _OTHERS_WRITE
