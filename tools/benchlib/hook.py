"""How much longer `virsh start` takes with the start gate behind it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from benchlib.lab import CHECKOUT, BenchError, Host

VIRTRBD = str(CHECKOUT / ".venv/bin/virtrbd")
TITLES = ("WHAT", "MEDIAN", "FASTEST", "EXPECTED", "")
PLAIN, WITH_HOOK, HOOK = "virsh start --paused", "virsh start --paused, with the hook", "the hook alone"
MOST_S = 0.3
KNOWN_WITHIN_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Wall times of one kind, in seconds; `most_s` is None where nothing is expected."""

    name: str
    median_s: float
    fastest_s: float
    most_s: float | None

    @property
    def is_met(self) -> bool | None:
        return None if self.most_s is None else self.median_s <= self.most_s

    def as_data(self) -> dict[str, object]:
        """Return the row for programs; times in milliseconds."""
        return {
            "name": self.name,
            "median_ms": round(self.median_s * 1000, 1),
            "fastest_ms": round(self.fastest_s * 1000, 1),
            "most_ms": None if self.most_s is None else self.most_s * 1000,
            "met": self.is_met,
        }

    def as_cells(self) -> tuple[str, ...]:
        """Return the row for a person."""
        expected = "" if self.most_s is None else f"<= {self.most_s * 1000:.0f} ms"
        word = {None: "", True: "met", False: "MISSED"}[self.is_met]
        return (self.name, f"{self.median_s * 1000:.0f} ms", f"{self.fastest_s * 1000:.0f} ms", expected, word)


def measure_hook(host: Host, runs: int) -> list[Row]:
    """Return what a start takes without and with the hook, interleaved, and the two calls of the hook in it."""
    times: dict[str, list[float]] = {PLAIN: [], WITH_HOOK: [], HOOK: []}
    with _domain(host) as name, _hook(host) as file:
        xml = host.run(["virsh", "dumpxml", name])
        _make_known(host, name)
        for _ in range(runs):
            # libvirt runs only what is executable.
            file.chmod(0o644)
            times[PLAIN].append(_started(host, name))
            file.chmod(0o755)
            times[WITH_HOOK].append(_started(host, name))
            times[HOOK].append(_timed(lambda: _call(file, name, xml, "prepare")))
            times[HOOK][-1] += _timed(lambda: _call(file, name, xml, "started"))
    return [
        Row(
            name=name,
            median_s=statistics.median(taken),
            fastest_s=min(taken),
            most_s=MOST_S if name == HOOK else None,
        )
        for name, taken in times.items()
    ]


@contextlib.contextmanager
def _domain(host: Host) -> Iterator[str]:
    """Define a domain with one disk; leave nothing behind."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    spec = host.folder / f"{name}.yaml"
    spec.write_text(f"name: {name}\nmemory: 128M\ndisks:\n  - size: 16M\n")
    try:
        host.run([VIRTRBD, "define", str(spec)])
        yield name
    finally:
        for argv in (
            ["virsh", "destroy", name],
            [VIRTRBD, "undefine", name],
            ["rbd", "rm", "--no-progress", f"vms/{name}.vda"],
        ):
            with contextlib.suppress(BenchError):
                host.run(argv)


@contextlib.contextmanager
def _hook(host: Host) -> Iterator[Path]:
    """Install the hook, let libvirt look for it, and yield its file."""
    installed = json.loads(host.run([VIRTRBD, "hook", "install", "--output", "json"]))["hook"]
    [socket] = parse_qs(urlsplit(host.uri).query)["socket"]
    try:
        os.kill(int((Path(socket).parent.parent / "libvirtd.pid").read_text()), signal.SIGHUP)
        yield Path(installed["file"])
    finally:
        host.run([VIRTRBD, "hook", "remove"])


def _make_known(host: Host, name: str) -> None:
    """Start the domain until libvirt has called the hook: it looks for hooks in its own time. Raises BenchError."""
    give_up_at = time.monotonic() + KNOWN_WITHIN_S
    while time.monotonic() < give_up_at:
        _started(host, name)
        with contextlib.suppress(BenchError):
            host.run([VIRTRBD, "hook", "status"])
            return
    raise BenchError("libvirt does not call the hook")


def _started(host: Host, name: str) -> float:
    """Return how long a start takes; the guest is ended, and its QEMU no longer has the image open."""
    taken = _timed(lambda: host.run(["virsh", "start", "--paused", name]))
    host.run(["virsh", "destroy", name])
    while "watcher=" in host.run(["rbd", "status", f"vms/{name}.vda"]):
        time.sleep(0.1)
    return taken


def _call(file: Path, name: str, xml: str, operation: str) -> None:
    done = subprocess.run([file, name, operation, "begin", "-"], input=xml, text=True, check=False, capture_output=True)
    if done.returncode:
        raise BenchError(f"the hook refuses: {done.stderr}")


def _timed(run: Callable[[], object]) -> float:
    begun_at = time.perf_counter()
    run()
    return time.perf_counter() - begun_at
