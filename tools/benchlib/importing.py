"""What an import takes besides time: memory, and bytes read and written where a disk is mostly holes."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchlib.lab import CHECKOUT, Host
from benchlib.peak import Peak, run_watched

VIRTRBD = str(CHECKOUT / ".venv/bin/virtrbd")
MIB = 1024**2
OBJECT_BYTES = 4 * MIB
DATA_BYTES = 300 * MIB
MOST_MEMORY_BYTES = 200 * MIB
# Headers, and the tables of the qcow2.
OVERHEAD = 1.05
POOL = "vms"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A disk with 300 MiB of random data in objects that lie anywhere in it; all else is holes."""

    name: str
    file: Path
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One figure of an import. `least` holds it from below too: all data, and nothing else."""

    source: str
    what: str
    value_bytes: int
    most_bytes: int
    least_bytes: int = 0

    @property
    def is_met(self) -> bool:
        """Whether the figure is as expected."""
        return self.least_bytes <= self.value_bytes <= self.most_bytes

    def as_data(self) -> dict[str, object]:
        """Return the figure for programs."""
        return {
            "name": f"{self.what}: {self.source}",
            "bytes": self.value_bytes,
            "expected_at_most": self.most_bytes,
            "expected_at_least": self.least_bytes,
            "met": self.is_met,
        }

    def as_cells(self) -> tuple[str, ...]:
        """Return the figure for a person."""
        sign = "=" if self.least_bytes == self.most_bytes else "<="
        word = "met" if self.is_met else "MISSED"
        value = f"{self.value_bytes / MIB:.0f} MiB"
        return (f"{self.what}, {self.source}", value, f"{sign} {self.most_bytes / MIB:.0f} MiB", word)


FACT_TITLES = ("IMPORT", "TAKES", "EXPECTED", "")


def make_sources(host: Host) -> tuple[Source, ...]:
    """Make a qcow2 of 1 GiB, and raw files of 1 GiB and of 8 GiB, each with the same amount of data."""
    small, large = host.folder / "1g.raw", host.folder / "8g.raw"
    for file, size_bytes in ((small, 1024 * MIB), (large, 8192 * MIB)):
        _write_data(file, size_bytes)
    qcow2 = host.folder / "1g.qcow2"
    host.run(["qemu-img", "convert", "-O", "qcow2", str(small), str(qcow2)])
    return (
        Source(name="1 GiB qcow2", file=qcow2, size_bytes=1024 * MIB),
        Source(name="1 GiB raw", file=small, size_bytes=1024 * MIB),
        Source(name="8 GiB raw", file=large, size_bytes=8192 * MIB),
    )


def measure_importing(host: Host, sources: Sequence[Source], namespace: str) -> list[Fact]:
    """Import each source and return what that took."""
    facts = []
    for source in sources:
        image = f"{POOL}/{namespace}/imported"
        peak = run_watched(host, [VIRTRBD, "image", "import", str(source.file), image])
        usage = json.loads(host.run([VIRTRBD, "image", "usage", image, "--output", "json"]))
        host.run(["rbd", "rm", "--no-progress", image])
        facts += _facts(source, peak, usage["total_used_bytes"])
    return facts


def _facts(source: Source, peak: Peak, used_bytes: int) -> list[Fact]:
    bounds = {
        "memory": (peak.memory_bytes, MOST_MEMORY_BYTES, 0),
        "read": (peak.read_bytes, int(DATA_BYTES * OVERHEAD), 0),
        "allocated": (used_bytes, DATA_BYTES, DATA_BYTES),
    }
    return [
        Fact(source=source.name, what=what, value_bytes=value, most_bytes=most, least_bytes=least)
        for what, (value, most, least) in bounds.items()
    ]


def _write_data(file: Path, size_bytes: int) -> None:
    places = [0, *random.Random(1).sample(range(1, size_bytes // OBJECT_BYTES), DATA_BYTES // OBJECT_BYTES - 1)]
    with file.open("wb") as stream:
        stream.truncate(size_bytes)
        for place in sorted(places):
            stream.seek(place * OBJECT_BYTES)
            stream.write(os.urandom(OBJECT_BYTES))
        # A boot sector's signature: raw bytes that nothing shows to be a disk are refused.
        stream.seek(510)
        stream.write(b"\x55\xaa")
