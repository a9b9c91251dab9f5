"""How long virtrbd takes where it has nothing to do: start, list, a define that changes nothing."""

from __future__ import annotations

import contextlib
import statistics
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchlib.lab import CHECKOUT, BenchError, Host

PYTHON = str(CHECKOUT / ".venv/bin/python3")
VIRTRBD = str(CHECKOUT / ".venv/bin/virtrbd")
BARE = str(CHECKOUT / "tools/benchlib/bare.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One command: the median and the fastest of its wall times, in seconds."""

    name: str
    median_s: float
    fastest_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """At most `limit` times as long as another command, by the medians."""

    name: str
    baseline: str
    limit: float


PYTHON_START, BARE_CALLS = "python3 -c pass", "bare calls"
HELP, LIST, DEFINE = "virtrbd --help", "virtrbd list", "virtrbd define (no change)"
EXPECTED = (
    Expectation(name=HELP, baseline=PYTHON_START, limit=4.0),
    Expectation(name=DEFINE, baseline=BARE_CALLS, limit=3.5),
)


def measure(host: Host, runs: int) -> list[Measured]:
    """Return the wall times of all commands, interleaved: what disturbs one of them then disturbs all."""
    with _domain(host) as (spec, image):
        pool, _, name = image.partition("/")
        commands = {
            PYTHON_START: [PYTHON, "-c", "pass"],
            HELP: [VIRTRBD, "--help"],
            LIST: [VIRTRBD, "list"],
            BARE_CALLS: [PYTHON, BARE, host.uri, host.ceph_conf, host.user, pool, name],
            DEFINE: [VIRTRBD, "define", spec],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(runs):
            for name, argv in commands.items():
                times[name].append(_timed(host, argv))
    return [Measured(name=n, median_s=statistics.median(taken), fastest_s=min(taken)) for n, taken in times.items()]


@contextlib.contextmanager
def _domain(host: Host) -> Iterator[tuple[str, str]]:
    """Define a domain with one disk; yield its spec file and its image; leave nothing behind."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    spec, image = host.folder / f"{name}.yaml", f"vms/{name}.vda"
    spec.write_text(f"name: {name}\nmemory: 128M\ndisks:\n  - size: 16M\n    image: {image}\n")
    try:
        host.run([VIRTRBD, "define", str(spec)])
        # Once more: the first one after a change may still fill caches.
        if host.run([VIRTRBD, "define", str(spec)]) != f"{name}: nothing to do\n":
            raise BenchError(f"{spec}: the second define found something to do")
        yield str(spec), image
    finally:
        with contextlib.suppress(BenchError):
            host.run([VIRTRBD, "undefine", name])
        with contextlib.suppress(BenchError):
            host.run(["rbd", "rm", "--no-progress", image])
        spec.unlink(missing_ok=True)


def _timed(host: Host, argv: Sequence[str]) -> float:
    begun_at = time.perf_counter()
    host.run(argv)
    return time.perf_counter() - begun_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One command beside its baselines: as ratios to both, and whether the expected one holds."""

    name: str
    median_s: float
    fastest_s: float
    to_python: float
    to_bare: float
    expected: str
    is_met: bool | None

    def as_data(self) -> dict[str, object]:
        """Return the row for programs; times in milliseconds, `met` null where nothing is expected."""
        return {
            "name": self.name,
            "median_ms": round(self.median_s * 1000, 1),
            "fastest_ms": round(self.fastest_s * 1000, 1),
            "ratio_to_python": round(self.to_python, 2),
            "ratio_to_bare": round(self.to_bare, 2),
            "expected": self.expected or None,
            "met": self.is_met,
        }

    def as_cells(self) -> tuple[str, ...]:
        """Return the row for a person."""
        times = [f"{seconds * 1000:.0f} ms" for seconds in (self.median_s, self.fastest_s)]
        word = {None: "", True: "met", False: "MISSED"}[self.is_met]
        return (self.name, *times, f"{self.to_python:.2f}", f"{self.to_bare:.2f}", self.expected, word)


def compare(measured: Sequence[Measured]) -> list[Row]:
    """Return a row for each command."""
    medians = {item.name: item.median_s for item in measured}
    return [_row(item, medians) for item in measured]


def _row(item: Measured, medians: Mapping[str, float]) -> Row:
    expectation = next((expected for expected in EXPECTED if expected.name == item.name), None)
    return Row(
        name=item.name,
        median_s=item.median_s,
        fastest_s=item.fastest_s,
        to_python=item.median_s / medians[PYTHON_START],
        to_bare=item.median_s / medians[BARE_CALLS],
        expected=f"<= {expectation.limit:g} x {expectation.baseline}" if expectation else "",
        is_met=item.median_s <= expectation.limit * medians[expectation.baseline] if expectation else None,
    )
