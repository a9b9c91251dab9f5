"""Spec files as bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecFile:
    """A spec file as it was read: its path as it was given, and its raw bytes."""

    path: str
    raw: bytes


def read_files(paths: Sequence[str]) -> tuple[tuple[SpecFile, ...], tuple[str, ...]]:
    """Return all files (a directory stands for its *.yaml), and a problem for each that can't be read."""
    files: list[SpecFile] = []
    problems: list[str] = []
    for file in _named(paths):
        try:
            files.append(SpecFile(path=str(file), raw=file.read_bytes()))
        except OSError as error:
            problems.append(f"{file}: {error.strerror}; check the path")
    return tuple(files), tuple(problems)


def _named(paths: Sequence[str]) -> list[Path]:
    files: list[Path] = []
    for path in map(Path, paths):
        files += sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    return list(dict.fromkeys(files))
