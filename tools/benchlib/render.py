"""How many specs a second become XML: load, resolve and render apart, and the memory that each domain takes."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from benchlib.lab import CHECKOUT, Host

PYTHON = str(CHECKOUT / ".venv/bin/python3")
STAGES = str(CHECKOUT / "tools/benchlib/stages.py")

SPEC = """\
name: bench-{number:05}
memory: 2G
vcpus: 2
disks:
  - clone: golden/debian@v1
    size: 20G
  - size: 100G
interfaces:
  - bridge: br0
    mac: "52:54:00:00:{high:02x}:{low:02x}"
"""
COUNT = 1000
FEW = 20
ALL = "all three"
LEAST_PER_S = 1000.0
# Twice as many domains may take twice the memory and some: the allocator rounds, and the peak is a page count.
FLAT = 1.2


class Taken(TypedDict):
    """What stages.py prints."""

    seconds: list[dict[str, float]]
    grown_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """One stage over all specs of a run: the median and the fastest CPU time, in seconds."""

    stage: str
    median_s: float
    fastest_s: float
    expected_per_s: float | None = None

    @property
    def per_s(self) -> float:
        """Specs a second, by the median."""
        return COUNT / self.median_s

    @property
    def is_met(self) -> bool | None:
        """Whether the expectation holds, None where there is none."""
        return None if self.expected_per_s is None else self.per_s >= self.expected_per_s

    def as_data(self) -> dict[str, object]:
        """Return the rate for programs; the time is of one spec, in microseconds."""
        return {
            "name": self.stage,
            "specs_per_s": round(self.per_s),
            "median_us": round(self.median_s / COUNT * 1e6, 1),
            "fastest_us": round(self.fastest_s / COUNT * 1e6, 1),
            "expected_per_s": self.expected_per_s,
            "met": self.is_met,
        }

    def as_cells(self) -> tuple[str, ...]:
        """Return the rate for a person."""
        times = [f"{seconds / COUNT * 1e6:.0f} us" for seconds in (self.median_s, self.fastest_s)]
        expected = "" if self.expected_per_s is None else f">= {self.expected_per_s:.0f}/s"
        return (
            self.stage,
            f"{self.per_s:.0f}",
            *times,
            expected,
            {None: "", True: "met", False: "MISSED"}[self.is_met],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The peak memory that so many domains took."""

    count: int
    peak_bytes: int
    flat_against: float | None = None

    @property
    def per_domain(self) -> float:
        """Bytes a domain."""
        return self.peak_bytes / self.count

    @property
    def is_met(self) -> bool | None:
        """Whether a domain takes no more than among fewer ones, None for the fewest."""
        return None if self.flat_against is None else self.per_domain <= FLAT * self.flat_against

    def as_data(self) -> dict[str, object]:
        """Return the figures for programs."""
        return {
            "name": f"{self.count} domains",
            "peak_bytes": self.peak_bytes,
            "bytes_per_domain": round(self.per_domain),
            "expected_at_most": None if self.flat_against is None else round(FLAT * self.flat_against),
            "met": self.is_met,
        }

    def as_cells(self) -> tuple[str, ...]:
        """Return the figures for a person."""
        expected = "" if self.flat_against is None else f"<= {FLAT:g} x {COUNT} domains"
        word = {None: "", True: "met", False: "MISSED"}[self.is_met]
        sizes = (f"{self.peak_bytes / 1024**2:.1f} MiB", f"{self.per_domain / 1024:.1f} KiB")
        return (f"{self.count} domains", *sizes, expected, word)


RATE_TITLES = ("STAGE", "SPECS/S", "MEDIAN", "FASTEST", "EXPECTED", "")
MEMORY_TITLES = ("MEMORY", "PEAK", "A DOMAIN", "EXPECTED", "")


def measure_render(folder: Path, runs: int) -> tuple[list[Rate], list[Memory]]:
    """Return the rates of all stages, and the memory for one and two times as many. Raises BenchError."""
    # A cache home of its own: nothing remembered from other runs, nothing left for them.
    here = Host(environment={**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}, folder=folder)
    few = _specs(folder / "few", FEW)
    once = _take(here, _specs(folder / "once", COUNT), few, runs)
    twice = _take(here, _specs(folder / "twice", 2 * COUNT), few, 1)
    return _rates(once["seconds"]), _memory(once["grown_bytes"], twice["grown_bytes"])


def _specs(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        (folder / f"bench-{number:05}.yaml").write_text(
            # The MAC is stated: of 2,000 that are derived, in 24 bits, one time in nine two are alike.
            SPEC.format(number=number, high=number // 256, low=number % 256)
        )
    return folder


def _take(here: Host, folder: Path, few: Path, runs: int) -> Taken:
    taken: Taken = json.loads(here.run([PYTHON, STAGES, str(folder), str(few), str(runs)]))
    return taken


def _rates(seconds: Sequence[dict[str, float]]) -> list[Rate]:
    taken = {stage: [run[stage] for run in seconds] for stage in seconds[0]}
    rates = [
        Rate(stage=stage, median_s=statistics.median(times), fastest_s=min(times)) for stage, times in taken.items()
    ]
    sums = [sum(run.values()) for run in seconds]
    return [
        *rates,
        Rate(stage=ALL, median_s=statistics.median(sums), fastest_s=min(sums), expected_per_s=LEAST_PER_S),
    ]


def _memory(once: int, twice: int) -> list[Memory]:
    first = Memory(count=COUNT, peak_bytes=once)
    return [first, Memory(count=2 * COUNT, peak_bytes=twice, flat_against=first.per_domain)]
