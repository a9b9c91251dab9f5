"""Spec files as bytes."""

import errno
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from glob import glob, has_magic
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecFile:
    """A spec file as it was read: its path as it was given, and its raw bytes."""

    path: str
    raw: bytes


PROFILES = "profiles.yaml"
_SUFFIXES = (".yaml", ".yml")
# Far beyond any spec.
MAX_BYTES = 1024**2
_MOSTLY_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecFiles:
    """The files that were named: specs, the profiles beside them by folder, and a problem for each unreadable one.

    `without_profiles`: folders whose profiles can't be read.
    """

    specs: tuple[SpecFile, ...] = ()
    profiles: Mapping[str, SpecFile] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    without_profiles: frozenset[str] = frozenset()

    def profiles_for(self, spec: SpecFile) -> SpecFile | None:
        """Return the profiles.yaml beside a spec."""
        return self.profiles.get(str(Path(spec.path).parent))

    def with_readable_profiles(self) -> "SpecFiles":
        """Return these files without the specs whose profiles cannot be read: without them a spec is another."""
        specs = tuple(spec for spec in self.specs if str(Path(spec.path).parent) not in self.without_profiles)
        return replace(self, specs=specs)


def read_files(paths: Sequence[str]) -> SpecFiles:
    """Return all files; a directory stands for its *.yaml and *.yml, and a pattern for what it matches."""
    named, problems = _named(paths)
    specs = [file for path in named if (file := _read(path, problems))]
    # A link into nowhere is there all the same.
    named_folders = map(Path, dict.fromkeys(os.path.dirname(spec.path) or "." for spec in specs))
    folders = [folder for folder in named_folders if _has_profiles(folder)]
    profiles = {str(folder): file for folder in folders if (file := _read(folder / PROFILES, problems))}
    unread = frozenset(map(str, folders)) - profiles.keys()
    return SpecFiles(specs=tuple(specs), profiles=profiles, problems=tuple(problems), without_profiles=unread)


def _has_profiles(folder: Path) -> bool:
    return os.path.lexists(folder / PROFILES)


def read_bounded(path: str | Path) -> bytes:
    """Return the bytes of a regular file, one more than MAX_BYTES of a larger one. Raises OSError.

    A pipe may never end, and /dev/zero never does.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
        mode = os.fstat(stream.fileno()).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "Is a directory")
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file")
        # In two parts: room for the most that there may be takes longer to get than a spec takes to read.
        begin = stream.read(_MOSTLY_BYTES)
        return begin if len(begin) < _MOSTLY_BYTES else begin + stream.read(MAX_BYTES + 1 - len(begin))


def _read(path: Path, problems: list[str]) -> SpecFile | None:
    if not str(path).isprintable():
        # Not UTF-8, or a newline: no message, no log and no cache could name it.
        problems.append(f"{str(path)!a}: a name that cannot be printed; rename the file")
        return None
    try:
        return SpecFile(path=str(path), raw=read_bounded(path))
    except OSError as error:
        problems.append(f"{path}: {error.strerror}; check the path")
        return None


def _named(paths: Sequence[str]) -> tuple[list[Path], list[str]]:
    files: list[Path] = []
    problems: list[str] = []
    for name in paths:
        try:
            found = _found(name)
        except OSError as error:
            problems.append(f"{name}: {error.strerror}; check the path")
            continue
        # profiles.yaml is no spec; `*.yaml` names it all the same.
        specs = [file for file in found if file.name != PROFILES]
        if not specs:
            problems.append(f"{name}: no spec files (*.yaml) there; check the path")
        files += specs
    return list(dict.fromkeys(files)), problems


def _found(name: str) -> list[Path]:
    """Return the files that a path stands for. Raises OSError."""
    # os.path's looks: those of Path raise where a folder above may not be looked into.
    if os.path.isdir(name):
        return [Path(name, file) for file in sorted(os.listdir(name)) if os.path.splitext(file)[1] in _SUFFIXES]
    # Shells leave a pattern as it is when it stands in quotes, or in a crontab's variable.
    if has_magic(name) and not os.path.lexists(name):
        return sorted(map(Path, glob(name, recursive=True)))
    return [Path(name)]
