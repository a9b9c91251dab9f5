"""A reconcile that finds nothing to do, from 1 to 1,000 domains: beside the floor, and beside what people loop over."""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchlib.fleet import LONG_S, POOL, VIRTRBD, Fleet, fleet
from benchlib.lab import CHECKOUT, PYTHON, BenchError, Host

FLOOR = str(CHECKOUT / "tools/benchlib/floor.py")
PHASES = str(CHECKOUT / "tools/benchlib/phases.py")

SPEC = "name: {name}\nmemory: 128M\ndisks:\n  - size: 16M\n"
SIZES = (1, 10, 100, 200, 1000)
# Of fewer domains the start of Python is most of it.
JUDGED = (200, 1000)
MOST_TO_FLOOR = 2.0
# Growth is a straight line, but for what a busy machine adds.
FLAT = 1.5
# Loops of virsh take minutes over more.
MOST_LOOPED = 200
# Making them: several at a time, for they are not what is measured.
PARALLEL = 8

FLOOR_NAME, RECONCILE, PLAN = "floor", "virtrbd reconcile", "virtrbd plan"
LOOP, DEFINE = "virsh dumpxml loop", "virsh define, one process"

TITLES = ("DOMAINS", "FLOOR", "RECONCILE", "x FLOOR", "PLAN", "EXPECTED", "")
BESIDE_TITLES = ("BESIDE IT", "DOMAINS", "MEDIAN", "x FLOOR")
GROWTH_TITLES = ("DOMAINS", "RECONCILE", "STRAIGHT LINE", "EXPECTED", "")
PHASE_TITLES = ("PHASE", "DOMAINS", "MEDIAN", "SHARE")


@dataclass(frozen=True, slots=True, kw_only=True)
class NoChange:
    """The medians over so many domains, in seconds."""

    domains: int
    floor_s: float
    reconcile_s: float
    plan_s: float
    peak_bytes: int

    @property
    def ratio(self) -> float:
        """How many times the floor it takes."""
        return self.reconcile_s / self.floor_s

    @property
    def is_met(self) -> bool | None:
        """Whether it is near enough to the floor, None for few domains."""
        return self.ratio <= MOST_TO_FLOOR if self.domains in JUDGED else None

    def as_data(self) -> dict[str, object]:
        """Return the row for programs; times in milliseconds."""
        return {
            "domains": self.domains,
            "floor_ms": round(self.floor_s * 1000, 1),
            "reconcile_ms": round(self.reconcile_s * 1000, 1),
            "ratio": round(self.ratio, 2),
            "plan_ms": round(self.plan_s * 1000, 1),
            "peak_bytes": self.peak_bytes,
            "expected_at_most": MOST_TO_FLOOR if self.domains in JUDGED else None,
            "met": self.is_met,
        }

    def as_cells(self) -> tuple[str, ...]:
        """Return the row for a person."""
        expected = f"<= {MOST_TO_FLOOR:g} x floor" if self.domains in JUDGED else ""
        times = (ms(self.floor_s), ms(self.reconcile_s), f"{self.ratio:.2f}", ms(self.plan_s))
        return (str(self.domains), *times, expected, word(self.is_met))


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What other ways to look at so many domains take."""

    name: str
    domains: int
    median_s: float
    to_floor: float
    is_met: bool | None = None

    def as_data(self) -> dict[str, object]:
        """Return the row for programs."""
        return {
            "name": self.name,
            "domains": self.domains,
            "median_ms": round(self.median_s * 1000, 1),
            "ratio": round(self.to_floor, 2),
        }

    def as_cells(self) -> tuple[str, ...]:
        """Return the row for a person."""
        return (self.name, str(self.domains), ms(self.median_s), f"{self.to_floor:.1f}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """Many domains, beside the straight line through what one and some take."""

    one: NoChange
    some: NoChange
    many: NoChange

    @property
    def expected_s(self) -> float:
        """Seconds that so many take when each one more costs what it did before."""
        a_domain_s = (self.some.reconcile_s - self.one.reconcile_s) / (self.some.domains - self.one.domains)
        return self.one.reconcile_s + a_domain_s * (self.many.domains - self.one.domains)

    @property
    def is_met(self) -> bool:
        """Whether it grows no faster, but for what a busy machine adds."""
        return self.many.reconcile_s <= FLAT * self.expected_s

    def as_data(self) -> dict[str, object]:
        """Return the row for programs."""
        return {
            "domains": self.many.domains,
            "reconcile_ms": round(self.many.reconcile_s * 1000, 1),
            "expected_ms": round(self.expected_s * 1000, 1),
            "expected_at_most": FLAT,
            "met": self.is_met,
        }

    def as_cells(self) -> tuple[str, ...]:
        """Return the row for a person."""
        line = f"through {self.one.domains} and {self.some.domains}: {ms(self.expected_s)}"
        return (str(self.many.domains), ms(self.many.reconcile_s), line, f"<= {FLAT:g} x line", word(self.is_met))


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One step of a no-change reconcile: its median, and its share of the whole; None for what goes on beside."""

    name: str
    domains: int
    median_s: float
    share: float | None
    is_met: bool | None = None

    def as_data(self) -> dict[str, object]:
        """Return the row for programs."""
        share = None if self.share is None else round(self.share, 3)
        return {
            "name": self.name.lstrip("- "),
            "domains": self.domains,
            "median_ms": round(self.median_s * 1000, 1),
            "share": share,
        }

    def as_cells(self) -> tuple[str, ...]:
        """Return the row for a person."""
        share = "" if self.share is None else f"{self.share:.0%}"
        return (self.name, str(self.domains), ms(self.median_s), share)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """All of it, by size."""

    rows: list[NoChange]
    beside: list[Beside]
    growth: list[Growth]
    phases: list[Phase]


def measure_no_change(host: Host, runs: int, sizes: Sequence[int]) -> Measured:
    """Return what a no-change reconcile takes over fleets of these sizes, each larger one grown out of the last."""
    found = Measured(rows=[], beside=[], growth=[], phases=[])
    with fleet(host, parallel=PARALLEL) as made:
        for size in sorted(set(sizes)):
            made.write(size, SPEC)
            made.bring_about()
            _measure_size(made, size, runs, found)
    judged = [row for row in found.rows if row.domains in JUDGED]
    if len(judged) == len(JUDGED) and found.rows[0] not in judged:
        found.growth.append(Growth(one=found.rows[0], some=judged[0], many=judged[1]))
    return found


def _measure_size(made: Fleet, size: int, runs: int, found: Measured) -> None:
    folder = str(made.specs)
    commands: dict[str, Sequence[str]] = {
        FLOOR_NAME: [PYTHON, FLOOR, made.host.uri, made.host.ceph_conf, made.host.user, POOL],
        RECONCILE: [VIRTRBD, "reconcile", folder],
        # Not the directory: what other domains the lab has would be told of as orphans.
        PLAN: [VIRTRBD, "plan", f"{folder}/*.yaml"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    profiles = []
    for _ in range(runs):
        for name, argv in commands.items():
            times[name].append(timed(made.host, argv, _expected_of(name, size)))
        profiles.append(_profiled(made.host, folder))
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    row = NoChange(
        domains=size,
        floor_s=medians[FLOOR_NAME],
        reconcile_s=medians[RECONCILE],
        plan_s=medians[PLAN],
        peak_bytes=round(statistics.median(profile["peak_bytes"] for profile in profiles)),
    )
    found.rows.append(row)
    found.phases.extend(_phases(profiles, size))
    if size <= MOST_LOOPED:
        found.beside.extend(_beside(made, row))


def _expected_of(name: str, size: int) -> Callable[[str], bool]:
    """Return what tells from a command's output that it did what is measured."""
    if name == FLOOR_NAME:
        return lambda out: all(int(count) >= size for count in out.split())
    if name == PLAN:
        return lambda out: f"{size} domain" in out and ", 0 actions" in out
    return lambda out: out == ""


def timed(host: Host, argv: Sequence[str], is_right: Callable[[str], bool] = lambda _out: True) -> float:
    """Return how long the command took. Raises BenchError when it failed, or did something else."""
    begun_at = time.perf_counter()
    out = host.run(argv, timeout_s=LONG_S)
    seconds = time.perf_counter() - begun_at
    if not is_right(out):
        raise BenchError(f"{' '.join(argv)}: it did not do what was to be measured:\n{out}")
    return seconds


def _profiled(host: Host, folder: str) -> dict[str, Any]:
    out = host.run([PYTHON, PHASES, repr(time.monotonic()), folder])
    profile: dict[str, Any] = json.loads(out.splitlines()[-1])
    return profile


def _phases(profiles: Sequence[Mapping[str, Any]], size: int) -> list[Phase]:
    whole = statistics.median(sum(profile["seconds"].values()) for profile in profiles)
    found = []
    for name in profiles[0]["seconds"]:
        median_s = statistics.median(profile["seconds"][name] for profile in profiles)
        found.append(Phase(name=name, domains=size, median_s=median_s, share=median_s / whole))
        if name.startswith("read"):
            for read in profiles[0]["beside"]:
                taken = statistics.median(profile["beside"][read] for profile in profiles)
                found.append(Phase(name=read, domains=size, median_s=taken, share=None))
    return found


def _beside(made: Fleet, row: NoChange) -> list[Beside]:
    """Measure once what takes long anyway."""
    names = [made.name(number) for number in range(row.domains)]
    folder = made.host.folder / "dumped"
    folder.mkdir(exist_ok=True)
    dump = 'for name; do virsh -q dumpxml --inactive "$name" >"$0/$name.xml" || exit 1; done'
    loop_s = timed(made.host, ["sh", "-c", dump, str(folder), *names])
    define = [f"define {folder}/{name}.xml" for name in names]
    define_s = _virsh(made.host, folder / "commands", define)
    return [
        Beside(name=LOOP, domains=row.domains, median_s=loop_s, to_floor=loop_s / row.floor_s),
        Beside(name=DEFINE, domains=row.domains, median_s=define_s, to_floor=define_s / row.floor_s),
    ]


def _virsh(host: Host, file: Path, commands: Sequence[str]) -> float:
    """Return how long one virsh takes for all commands."""
    file.write_text("".join(f"{command}\n" for command in commands))
    with file.open() as stream:
        begun_at = time.perf_counter()
        done = subprocess.run(
            ["virsh", "-q"],
            env=host.environment,
            stdin=stream,
            capture_output=True,
            text=True,
            check=False,
            timeout=LONG_S,
        )
        seconds = time.perf_counter() - begun_at
    if done.returncode or "error" in done.stderr:
        raise BenchError(f"virsh: {done.stderr}")
    return seconds


def ms(seconds: float) -> str:
    """Return a time for a person."""
    return f"{seconds * 1000:.0f} ms"


def word(is_met: bool | None) -> str:
    """Return whether an expectation holds, for a person."""
    return {None: "", True: "met", False: "MISSED"}[is_met]
