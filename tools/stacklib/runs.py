"""What runs in a root: the command line for it, and a run's row in the table."""

import os
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stacklib.roots import TOOLS, cache_folder

# How pip and others reach their registries is the machine's affair; all else of its environment stays outside.
PASSED = ("TERM", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CERT", "PIP_DEFAULT_TIMEOUT")
PROXIES = ("http_proxy", "https_proxy", "no_proxy")

_CLOSING_LINE = re.compile(r"^=*\s*((?:\d+ \w+(?:, )?)+) in [\d.]+s", re.MULTILINE)
_DEMO = re.compile(r"^demo: (passed|FAILED) (?:in|after) (\d+) s$", re.MULTILINE)
_COUNT = re.compile(r"(\d+) (passed|failed|error)")
# What tells one stack from another.
_VERSIONS = "python3 libvirt-daemon qemu-system-x86 ceph-common"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How a command ended in a root; `counts` are of pytest's closing lines, `seconds` on the wall clock.

    `demo`: what became of the demo, empty where it did not run.
    """

    release: str
    versions: Mapping[str, str]
    code: int
    demo: str
    counts: Mapping[str, int]
    seconds: float


def command_line(release: str, root: Path, command: Sequence[str]) -> list[str]:
    """Return what runs the command in the root, on a copy of this checkout.

    Its processes are in a PID namespace: they end with the first, and that with what runs this line.
    """
    cache = cache_folder() / release / "cache"
    cache.mkdir(exist_ok=True)
    passed = (name for name in (*PASSED, *PROXIES, *map(str.upper, PROXIES)) if name in os.environ)
    return [
        *("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"),
        *(
            "env",
            "-i",
            "HOME=/root",
            "LANG=C.UTF-8",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ),
        *(f"{name}={os.environ[name]}" for name in passed),
        *(str(TOOLS / "stacklib" / "enter"), str(root), str(cache), str(TOOLS.parent)),
        *command,
    ]


def run(release: str, root: Path, command: Sequence[str], log: Path) -> Run:
    """Run the command in the root, its output in the log."""
    started = time.monotonic()
    with log.open("wb") as output:
        done = subprocess.run(
            command_line(release, root, command), stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False
        )
    text = log.read_text(errors="replace")
    return Run(
        release=release,
        versions=_versions(root),
        code=done.returncode,
        demo=demo_in(text),
        counts=counts_in(text),
        seconds=time.monotonic() - started,
    )


def counts_in(output: str) -> dict[str, int]:
    """Return how many tests passed and failed, summed over pytest's closing lines."""
    counts = {"passed": 0, "failed": 0, "error": 0}
    for line in _CLOSING_LINE.findall(output):
        for number, kind in _COUNT.findall(line):
            counts[kind] += int(number)
    return counts


def demo_in(output: str) -> str:
    """Return what became of the demo, and how long it took; empty where it did not run."""
    said = _DEMO.search(output)
    return f"{said[1]} {said[2]} s" if said else ""


def table(runs: Sequence[Run]) -> str:
    """Return the runs as a table for a terminal."""
    head = ("STACK", "PYTHON", "LIBVIRT", "QEMU", "CEPH", "DEMO", "PASSED", "FAILED", "MINUTES", "EXIT")
    rows = [head, *(_row(each) for each in runs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _row(run: Run) -> tuple[str, ...]:
    failed = run.counts["failed"] + run.counts["error"]
    numbers = (run.demo or "-", run.counts["passed"], failed, f"{run.seconds / 60:.1f}", run.code)
    return (run.release, *(run.versions.get(name, "-") for name in _VERSIONS.split()), *map(str, numbers))


def _versions(root: Path) -> dict[str, str]:
    """Return upstream's version of each package that makes a stack, by the root's own dpkg."""
    shown = subprocess.run(
        ["dpkg-query", f"--root={root}", "--show", "--showformat", r"${Package} ${Version}\n", *_VERSIONS.split()],
        capture_output=True,
        text=True,
        check=False,
    )
    named = (line.split() for line in shown.stdout.splitlines())
    return {name: re.sub(r"^\d+:|[-+~].*$", "", version) for name, version in named}
