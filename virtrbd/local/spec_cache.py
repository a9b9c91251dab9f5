"""Cache of checked and resolved specs: importing pydantic takes longer than a no-change run may take.

An entry is used only for the very bytes it was made from, so nothing has to be invalidated. A flaw of an entry
or of the folder costs time, never the answer: then the full way is taken, and its errors are reported.
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TypeVar

import msgspec

import virtrbd
from virtrbd.local.folders import cache_folder, is_own, make_private
from virtrbd.local.write_whole import opened_folder, remove_half_files, write_whole_in
from virtrbd.model.digest import digest_of

T = TypeVar("T")

_MOST_ENTRIES = 2000
# The rooms whose code decides the content of an entry.
MAKERS = ("model", "specs", "domainxml", "compat", "planning", "local")
# What digest_of returns: nothing else in the folder is an entry, and nothing else is ever removed.
_ENTRY = re.compile(r"[0-9a-f]{32}")


def remembered(kind: type[T], parts: tuple[bytes | str, ...], make: Callable[[], T]) -> T:
    """Return what `make` returned for the same parts before, else make it now and keep it.

    Raises what `make` raises.
    """
    found = recall(kind, parts)
    if found is not None:
        return found
    made = make()
    keep(kind, parts, made)
    return made


def recall(kind: type[T], parts: tuple[bytes | str, ...]) -> T | None:
    """Return the value for the same parts, None without one that can be trusted."""
    key = _key(kind, parts)
    with contextlib.suppress(OSError, ValueError, RecursionError, msgspec.MsgspecError), _opened() as folder:
        return msgspec.json.decode(_read(folder, key), type=kind)
    return None


def keep(kind: type[T], parts: tuple[bytes | str, ...], value: T) -> None:
    """Keep a value for these parts. A failure costs time in the next run, nothing else."""
    with contextlib.suppress(OSError, TypeError, ValueError, msgspec.MsgspecError):
        payload = msgspec.json.encode(value)
        if is_own(cache_folder()):
            make_private(Path(cache_folder()))
        with _opened() as folder:
            _write(folder, _key(kind, parts), payload)


def _key(kind: type[T], parts: tuple[bytes | str, ...]) -> str:
    return digest_of(str(kind), virtrbd.__version__, _code(), *parts)


@contextlib.contextmanager
def _opened() -> Iterator[int]:
    """Open the folder of the entries. Raises OSError, also where another user may write there: entries are trusted.

    Under `sudo -E` root has a user's XDG_CACHE_HOME, and the user may put a link to any folder in its place.
    """
    if not is_own(cache_folder()):
        raise PermissionError(f"{cache_folder()}: another user may change it")
    with opened_folder(cache_folder(), os.O_NOFOLLOW) as folder:
        yield folder


@cache
def _code() -> str:
    """Name the state of the code that makes entries: in a checkout it changes without a new version."""
    rooms = (Path(virtrbd.__file__).parent / room for room in MAKERS)
    stats = ((file, file.stat()) for room in rooms for file in sorted(room.glob("*.py")))
    return repr([(str(file), stat.st_mtime_ns, stat.st_size) for file, stat in stats])


def _read(folder: int, key: str) -> bytes:
    """Return an entry's payload. Raises OSError, and ValueError for an entry that virtrbd did not write here, whole."""
    with open(os.open(key, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder), "rb") as stream:
        stat = os.fstat(stream.fileno())
        # A user who can write an entry decides what is defined.
        if stat.st_uid != os.geteuid() or stat.st_mode & 0o022:
            raise ValueError(f"{key}: another user may write it")
        proof, _, payload = stream.read().partition(b"\n")
    if proof.decode() != digest_of(key, payload):
        raise ValueError(f"{key}: is spoiled")
    return payload


def _write(folder: int, key: str, payload: bytes) -> None:
    """Write an entry for this user only. Raises OSError."""
    # Not synced: an entry that a power cut spoils costs time, and syncing a thousand of them costs more.
    write_whole_in(folder, key, digest_of(key, payload).encode() + b"\n" + payload, 0o600, synced=False)
    _forget_oldest(folder)


def _forget_oldest(folder: int) -> None:
    """Keep the newest entries, and no half-written ones; leave other files alone."""
    found = os.listdir(folder)
    remove_half_files(folder, found)
    names = list(filter(_ENTRY.fullmatch, found))
    if len(names) <= _MOST_ENTRIES:
        return
    names.sort(key=lambda name: _written_at(folder, name), reverse=True)
    for name in names[_MOST_ENTRIES:]:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=folder)


def _written_at(folder: int, name: str) -> float:
    # Another run may have removed it meanwhile.
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime
    except OSError:
        return 0.0
