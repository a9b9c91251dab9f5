"""What was checked and resolved once, kept: pydantic takes longer to import than a no-change run may take.

An entry is used only for the very bytes it was made from, so nothing has to be invalidated. Whatever is wrong with
an entry or with the folder costs time, never the answer: then the full way is taken, and its errors are reported.
"""

import contextlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

import msgspec

import virtrbd
from virtrbd.model.digest import digest_of

T = TypeVar("T")

_MOST_ENTRIES = 2000


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
    """Return what was kept for the same parts, None when there is nothing, or nothing that can be trusted."""
    key = _key(kind, parts)
    with contextlib.suppress(OSError, ValueError, msgspec.MsgspecError):
        return msgspec.json.decode(_read(_folder() / key, key), type=kind)
    return None


def keep(kind: type[T], parts: tuple[bytes | str, ...], value: T) -> None:
    """Keep a value for these parts. What goes wrong costs time in the next run, and nothing else."""
    with contextlib.suppress(OSError, TypeError, ValueError, msgspec.MsgspecError):
        _write(_folder(), _key(kind, parts), msgspec.json.encode(value))


def _key(kind: type[T], parts: tuple[bytes | str, ...]) -> str:
    return digest_of(str(kind), virtrbd.__version__, _code(), *parts)


def _folder() -> Path:
    """Return the folder of the entries. Not the state directory: that one is read from what is cached here."""
    system = "/var/cache" if os.geteuid() == 0 else os.path.expanduser("~/.cache")
    return Path(os.environ.get("XDG_CACHE_HOME") or system) / "virtrbd"


@cache
def _code() -> str:
    """Name the state of the code that makes entries: in a checkout it changes without a new version."""
    rooms = (Path(virtrbd.__file__).parent / room for room in ("model", "spec", "domainxml", "fitting", "planning"))
    stats = ((file, file.stat()) for room in rooms for file in sorted(room.glob("*.py")))
    return repr([(str(file), stat.st_mtime_ns, stat.st_size) for file, stat in stats])


def _read(file: Path, key: str) -> bytes:
    """Return an entry's payload. Raises OSError, and ValueError for one that was not written here, whole, by us."""
    with open(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as stream:
        stat = os.fstat(stream.fileno())
        proof, _, payload = stream.read().partition(b"\n")
    # Who can write an entry decides what is defined.
    if stat.st_uid != os.geteuid() or stat.st_mode & 0o022 or proof.decode() != digest_of(key, payload):
        raise ValueError(f"{file}: not an entry of ours")
    return payload


def _write(folder: Path, key: str, payload: bytes) -> None:
    """Write an entry: whole or not at all, for our own eyes. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    half = folder / f"{key}.{os.getpid()}.new"
    half.unlink(missing_ok=True)
    with open(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as stream:
        stream.write(digest_of(key, payload).encode() + b"\n" + payload)
    half.rename(folder / key)
    _forget_oldest(folder)


def _forget_oldest(folder: Path) -> None:
    """Keep the newest entries; halves that a crash left behind age like all others."""
    names = os.listdir(folder)
    if len(names) <= _MOST_ENTRIES:
        return
    files = sorted((folder / name for name in names), key=_written_at, reverse=True)
    for file in files[_MOST_ENTRIES:]:
        file.unlink(missing_ok=True)


def _written_at(file: Path) -> float:
    # Another run may have taken it away meanwhile.
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0
