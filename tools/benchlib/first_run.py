"""The first run over specs: clone, define and start, beside the loop that a person would write for it."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

from benchlib.fleet import LONG_S, POOL, Fleet, fleet
from benchlib.lab import CHECKOUT, PYTHON, BenchError, Host
from benchlib.reconcile import ms, timed, word

PAUSED = str(CHECKOUT / "tools/benchlib/paused.py")

COUNT = 50
# As few as its default: what a host is set to.
PARALLEL = 4
MOST_TO_LOOP = 0.5
SPEC = """\
name: {name}
memory: 32M
state: running
disks:
  - clone: {golden}
"""
# $0 is the folder of the definitions, $1 the snapshot, $2 the pool; the names follow.
LOOP = """\
folder=$0 golden=$1 pool=$2
shift 2
for name; do
    rbd clone "$golden" "$pool/$name.vda" &&
        virsh -q define "$folder/$name.xml" && virsh -q start --paused "$name" || exit 1
done
"""
TITLES = ("FIRST RUN", "MEDIAN", "FASTEST", "x LOOP", "EXPECTED", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """One way to do it: its median and fastest in seconds, and beside the loop's."""

    name: str
    median_s: float
    fastest_s: float
    ratio: float
    is_met: bool | None = None

    def as_data(self) -> dict[str, object]:
        """Return the row for programs."""
        return {
            "name": self.name,
            "domains": COUNT,
            "median_ms": round(self.median_s * 1000, 1),
            "fastest_ms": round(self.fastest_s * 1000, 1),
            "ratio": round(self.ratio, 2),
            "expected_at_most": None if self.is_met is None else MOST_TO_LOOP,
            "met": self.is_met,
        }

    def as_cells(self) -> tuple[str, ...]:
        """Return the row for a person."""
        expected = "" if self.is_met is None else f"<= {MOST_TO_LOOP:g} x loop"
        return (self.name, ms(self.median_s), ms(self.fastest_s), f"{self.ratio:.2f}", expected, word(self.is_met))


def measure_first_run(host: Host, runs: int) -> list[Taken]:
    """Return how long virtrbd and the loop take for COUNT domains, in turns. Raises BenchError."""
    times: dict[str, list[float]] = {"loop": [], "virtrbd": []}
    for _ in range(runs):
        with fleet(host, parallel=PARALLEL) as made:
            golden = _golden(made)
            made.write(COUNT, SPEC.replace("{golden}", golden))
            times["virtrbd"].append(_reconcile(made))
            definitions = _dumped(made)
            made.sweep()
            golden = _golden(made)
            names = [made.name(number) for number in range(COUNT)]
            times["loop"].append(timed(made.host, ["sh", "-c", LOOP, str(definitions), golden, POOL, *names]))
    loop_s, ours_s = (statistics.median(times[name]) for name in ("loop", "virtrbd"))
    return [
        Taken(name="rbd clone, virsh define, virsh start", median_s=loop_s, fastest_s=min(times["loop"]), ratio=1.0),
        Taken(
            name=f"virtrbd reconcile, {COUNT} domains",
            median_s=ours_s,
            fastest_s=min(times["virtrbd"]),
            ratio=ours_s / loop_s,
            is_met=ours_s <= MOST_TO_LOOP * loop_s,
        ),
    ]


def _golden(made: Fleet) -> str:
    """Make the snapshot that all are cloned from, and return its name."""
    image = f"{POOL}/{made.prefix}golden"
    made.host.run(["rbd", "create", "--size", "64M", image])
    made.host.run(["rbd", "snap", "create", "--no-progress", f"{image}@v1"])
    made.host.run(["rbd", "snap", "protect", f"{image}@v1"])
    return f"{image}@v1"


def _reconcile(made: Fleet) -> float:
    """Bring them about, started paused, and return how long it took."""

    def is_right(out: str) -> bool:
        lines = [line for line in out.splitlines() if line.endswith(": start domain")]
        if lines != sorted(lines):
            raise BenchError(f"the order of the output is not stable:\n{out}")
        return len(lines) == COUNT

    return timed(made.host, [PYTHON, PAUSED, "reconcile", str(made.specs)], is_right)


def _dumped(made: Fleet) -> Path:
    """Keep the definitions that virtrbd made: the loop defines the same ones."""
    folder = made.host.folder / f"{made.prefix}definitions"
    folder.mkdir()
    dump = 'for name; do virsh -q dumpxml --inactive "$name" >"$0/$name.xml" || exit 1; done'
    names = [made.name(number) for number in range(COUNT)]
    made.host.run(["sh", "-c", dump, str(folder), *names], timeout_s=LONG_S)
    return folder
