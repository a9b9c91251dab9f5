"""This checkout beside another one: each on domains of its own, in the same lab, their runs interleaved."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchlib.fleet import Fleet, fleet
from benchlib.lab import CHECKOUT, BenchError, Host, compiled
from benchlib.reconcile import PARALLEL, SPEC, ms, word

# What a change of the code may cost.
MOST = 1.05
DOMAINS = 200
TITLES = ("COMMAND", "OTHER", "THIS", "x OTHER", "PEAK, OTHER", "PEAK, THIS", "x OTHER", "EXPECTED", "")


@dataclass(slots=True)
class Taken:
    """What a command took, run by run: seconds, and the peak of its memory in bytes."""

    seconds: list[float] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One command in both checkouts, by medians: seconds and peak bytes."""

    name: str
    other_s: float
    this_s: float
    other_bytes: float
    this_bytes: float

    @property
    def is_met(self) -> bool:
        """Whether this checkout takes hardly more of either."""
        return self.this_s <= MOST * self.other_s and self.this_bytes <= MOST * self.other_bytes

    def as_data(self) -> dict[str, object]:
        """Return the row for programs; times in milliseconds."""
        return {
            "name": self.name,
            "other_ms": round(self.other_s * 1000, 1),
            "this_ms": round(self.this_s * 1000, 1),
            "ratio": round(self.this_s / self.other_s, 3),
            "other_peak_bytes": round(self.other_bytes),
            "this_peak_bytes": round(self.this_bytes),
            "peak_ratio": round(self.this_bytes / self.other_bytes, 3),
            "expected_at_most": MOST,
            "met": self.is_met,
        }

    def as_cells(self) -> tuple[str, ...]:
        """Return the row for a person."""
        times = (ms(self.other_s), ms(self.this_s), f"{self.this_s / self.other_s:.3f}")
        peaks = [f"{size / 2**20:.0f} MiB" for size in (self.other_bytes, self.this_bytes)]
        ratio = f"{self.this_bytes / self.other_bytes:.3f}"
        return (self.name, *times, *peaks, ratio, f"<= {MOST:g} x other", word(self.is_met))


def measure_versus(host: Host, other: Path, runs: int) -> list[Compared]:
    """Return the commands of both checkouts. Raises BenchError, also where the other one is not set up."""
    checkouts = (other.resolve(), CHECKOUT)
    for checkout in checkouts:
        if not (checkout / ".venv/bin/virtrbd").exists():
            raise BenchError(f"{checkout}: it has no .venv; run its tools/setup")
        compiled(checkout)
    with contextlib.ExitStack() as stack:
        fleets = [
            stack.enter_context(fleet(host, parallel=PARALLEL, virtrbd=str(checkout / ".venv/bin/virtrbd")))
            for checkout in checkouts
        ]
        for made in fleets:
            made.write(DOMAINS, SPEC)
            made.bring_about()
        taken = [{name: Taken() for name in _commands(made)} for made in fleets]
        for run in range(runs):
            # Which one goes first changes, for what a run leaves in the machine's caches.
            for at in (0, 1) if run % 2 else (1, 0):
                _run(fleets[at], taken[at])
    return [_compared(name, *(each[name] for each in taken)) for name in taken[0]]


def _commands(made: Fleet) -> Mapping[str, Sequence[str]]:
    return {
        "virtrbd --help": [made.virtrbd, "--help"],
        "virtrbd list": [made.virtrbd, "list"],
        "virtrbd define (no change)": [made.virtrbd, "define", str(made.specs / f"{made.name(0)}.yaml")],
        f"virtrbd reconcile ({DOMAINS} domains)": [made.virtrbd, "reconcile", str(made.specs)],
    }


def _run(made: Fleet, taken: Mapping[str, Taken]) -> None:
    for name, argv in _commands(made).items():
        begun_at = time.perf_counter()
        process = subprocess.Popen(argv, env=made.host.environment, stdout=subprocess.DEVNULL)
        # Its own peak: getrusage knows only that of all children together.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise BenchError(f"{' '.join(argv)}: exit {process.returncode}")
        taken[name].seconds.append(time.perf_counter() - begun_at)
        taken[name].peaks.append(usage.ru_maxrss * 1024)


def _compared(name: str, other: Taken, this: Taken) -> Compared:
    return Compared(
        name=name,
        other_s=statistics.median(other.seconds),
        this_s=statistics.median(this.seconds),
        other_bytes=statistics.median(other.peaks),
        this_bytes=statistics.median(this.peaks),
    )
