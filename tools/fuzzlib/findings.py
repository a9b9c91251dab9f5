"""What fuzzing found: one input of each kind kept in a file, with what repeats it."""

from __future__ import annotations

import hashlib
import traceback
from dataclasses import dataclass
from pathlib import Path

from virtrbd.errors import DefectError


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What makes two findings one: the exception, and the place in the project that it came from."""

    exception: str
    place: str

    def __str__(self) -> str:
        return f"{self.exception} at {self.place}"

    @property
    def file_name(self) -> str:
        """Return a name that says it, and of which no two kinds have the same."""
        digest = hashlib.sha256(str(self).encode()).hexdigest()[:8]
        return f"{self.exception}-{digest}"


def kind_of(error: Exception) -> Kind:
    """Return the kind of a finding: where it breaks deep in a library, the project's own last line has to change."""
    if isinstance(error, DefectError) and error.trace:
        # It was contained: what it was is in its own trace.
        *places, name = error.trace
        own = [place for place in places if not place.startswith(("/", "src/"))]
        return Kind(exception=name, place=(own or places)[-1])
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.name != "require"]
    mine = [frame for frame in frames if "/virtrbd/" in frame.filename or "/fuzzlib/" in frame.filename] or frames
    place = f"{mine[-1].filename.rpartition('/virtrbd/')[2].rpartition('/fuzzlib/')[2]}:{mine[-1].lineno}"
    return Kind(exception=type(error).__name__, place=f"{place} in {mine[-1].name}")


def keep(folder: Path, kind: Kind, data: bytes) -> Path:
    """Return the file that holds the shortest input of that kind."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / kind.file_name
    if not file.exists() or len(data) < file.stat().st_size:
        file.write_bytes(data)
    return file
