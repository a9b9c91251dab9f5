"""Spec files, read as bytes."""

import os
from collections.abc import Mapping, Sequence
from glob import glob, has_magic
from pathlib import Path

from msgspec import Struct, field

from virtrbd.model.record import replace
from virtrbd.printable import quoted
from virtrbd.trust import OutsideError, Weakness, open_beneath, open_entry, open_regular, weakness, weakness_of


class SpecFile(Struct, frozen=True, kw_only=True):
    """A spec file as it was read: its path as it was given, and its raw bytes."""

    path: str
    raw: bytes


PROFILES = "profiles.yaml"
_SUFFIXES = (".yaml", ".yml")
# Far beyond any spec.
MAX_BYTES = 1024**2
_MOSTLY_BYTES = 16 * 1024


class SpecFiles(Struct, frozen=True, kw_only=True):
    """The files that were named: specs, the profiles beside them by folder, and a problem for each unreadable file.

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
        """Return these files without the specs whose profiles cannot be read: without its profiles a spec differs."""
        specs = tuple(spec for spec in self.specs if str(Path(spec.path).parent) not in self.without_profiles)
        return replace(self, specs=specs)


class _Named(Struct, frozen=True, kw_only=True):
    """A file to read; `folder` is the folder or the pattern's beginning where it was found, "" where it was named.

    `is_entry`: it is in that folder itself, not below it.
    """

    path: Path
    folder: str = ""
    is_entry: bool = False


class _Rules(Struct, frozen=True, kw_only=True):
    """The folders that links may lead to, besides their own, and whether others may change a file."""

    allowed_dirs: tuple[str, ...]
    is_owned: bool


def read_files(paths: Sequence[str], allowed_dirs: Sequence[str] = (), *, is_owned: bool = False) -> SpecFiles:
    """Return all files: of a directory its *.yaml and *.yml without hidden files, of a pattern what it matches.

    Links in a directory lead to files in it or beneath `allowed_dirs`; a file that was named
    itself may be a link to anywhere. `is_owned`: a file that another user could change is a problem.
    """
    rules = _Rules(allowed_dirs=tuple(allowed_dirs), is_owned=is_owned)
    named, problems = _named(paths)
    specs = [file for each in named if (file := _read(each, rules, problems))]
    # A link into nowhere still exists.
    named_folders = map(Path, dict.fromkeys(os.path.dirname(spec.path) or "." for spec in specs))
    folders = [folder for folder in named_folders if _has_profiles(folder)]
    beside = (_Named(path=folder / PROFILES, folder=str(folder), is_entry=True) for folder in folders)
    profiles = {each.folder: file for each in beside if (file := _read(each, rules, problems))}
    unread = frozenset(map(str, folders)) - profiles.keys()
    return SpecFiles(specs=tuple(specs), profiles=profiles, problems=tuple(problems), without_profiles=unread)


def spec_paths(path: str) -> list[str]:
    """Return the files of a path, none where it has none."""
    return [str(each.path) for each in _named([path])[0]]


def folder_of(path: str) -> str:
    """Return the folder of a path: itself, the beginning of a pattern, or the folder that a file is in."""
    if os.path.isdir(path):
        return path
    while has_magic(path) and not os.path.lexists(path):
        path = os.path.dirname(path)
        if not has_magic(path):
            return path or "."
    return os.path.dirname(path) or "."


def _has_profiles(folder: Path) -> bool:
    return os.path.lexists(folder / PROFILES)


def read_bounded(path: str | Path) -> bytes:
    """Return the bytes of a regular file, of a larger file one more than MAX_BYTES. Raises OSError.

    A pipe may never end, and /dev/zero never does.
    """
    return read_opened(open_regular(str(path)))


def read_opened(descriptor: int) -> bytes:
    """Return the same of an open file, and close it. Raises OSError."""
    with open(descriptor, "rb") as stream:
        # In two parts: to allocate the maximum takes longer than to read a spec.
        begin = stream.read(_MOSTLY_BYTES)
        return begin if len(begin) < _MOSTLY_BYTES else begin + stream.read(MAX_BYTES + 1 - len(begin))


def _read(named: _Named, rules: _Rules, problems: list[str]) -> SpecFile | None:
    path = str(named.path)
    try:
        # The folder too: everything that is derived from the path is written in UTF-8.
        if not (path.isprintable() and (path.startswith("/") or os.getcwd().isprintable())):
            problems.append(f"{_shown(path)}: the name holds bytes that are not UTF-8 or not printable; rename it")
            return None
        entry = open_entry(path) if named.is_entry else None
        descriptor = _open(named, rules) if entry is None else entry
        if rules.is_owned and (found := _weakness(path, entry)):
            os.close(descriptor)
            problems.append(f"{path}: {found.of(path)}, who would decide what is done here; {found.way_out}")
            return None
        return SpecFile(path=path, raw=read_opened(descriptor))
    except OutsideError as error:
        fact = f"leads to {_shown(error.real)}, outside {named.folder} and the settings' allowed_dirs"
        problems.append(f"{path}: {fact}; put the file there itself, or remove the link")
    except OSError as error:
        problems.append(f"{path}: {error.strerror}; check the path")
    return None


def _shown(path: str) -> str:
    return path if path.isprintable() else quoted(path)


def _open(named: _Named, rules: _Rules) -> int:
    """Return a descriptor of a file, or of what a link leads to. Raises OutsideError, OSError."""
    path = str(named.path)
    if not named.folder:
        return open_regular(path)
    return open_beneath(path, (os.path.abspath(named.folder), *rules.allowed_dirs))


def _weakness(path: str, entry: int | None) -> Weakness | None:
    """Return the weakness of a file. The folder of an `entry` was checked; other files may lie elsewhere."""
    return weakness(path) if entry is None else weakness_of(os.path.abspath(path), os.fstat(entry))


def _named(paths: Sequence[str]) -> tuple[list[_Named], list[str]]:
    files: dict[Path, _Named] = {}
    problems: list[str] = []
    for name in paths:
        try:
            found = _found(name)
        except (OSError, ValueError) as error:
            fact = error.strerror if isinstance(error, OSError) else "a file cannot have that name"
            problems.append(f"{_shown(name)}: {fact}; check the path")
            continue
        # profiles.yaml is not a spec, although `*.yaml` matches it.
        specs = [each for each in found if each.path.name != PROFILES]
        if not specs:
            problems.append(f"{_shown(name)}: no spec files (*.yaml) there; check the path")
        for each in specs:
            files.setdefault(each.path, each)
    return list(files.values()), problems


def _found(name: str) -> list[_Named]:
    """Return the files of a path. Raises OSError."""
    # os.path's tests: Path's raise where a folder above may not be read.
    if os.path.isdir(name):
        # Hidden are an editor's locks (`.#web.yaml`) and a Mac's shadows (`._web.yaml`); glob leaves them out too.
        seen = (file for file in sorted(os.listdir(name)) if not file.startswith("."))
        files = [file for file in seen if os.path.splitext(file)[1] in _SUFFIXES]
        return [_Named(path=Path(name, file), folder=name, is_entry=True) for file in files]
    # Shells leave a pattern as it is in quotes, or in a crontab's variable.
    if has_magic(name) and not os.path.lexists(name):
        return [_Named(path=Path(file), folder=folder_of(name)) for file in sorted(glob(name, recursive=True))]
    return [_Named(path=Path(name))]
