"""What a run of virtrbd and its qemu-img take: memory at their peaks, bytes that qemu-img reads."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchlib.lab import BenchError, Host

LOOK_EVERY_S = 0.005
GIVE_UP_AFTER_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """`memory_bytes` sums the peaks of all processes; `read_bytes` counts what qemu-img reads of its source."""

    memory_bytes: int
    read_bytes: int


@dataclass(slots=True)
class _Seen:
    """The highest figures of each process so far; its pid is taken by one program after the other."""

    memory: dict[int, int] = field(default_factory=dict)
    read: int = 0

    def look(self, pid: int) -> None:
        """Look at a process and what it started. One that is gone meanwhile was looked at before."""
        for each in (pid, *_children(pid)):
            with suppress(OSError):
                self.memory[each] = max(self.memory.get(each, 0), 1024 * _number(each, "status", "VmHWM"))
                if b"convert" in Path(f"/proc/{each}/cmdline").read_bytes().split(b"\0"):
                    self.read = max(self.read, _number(each, "io", "rchar"))


def run_watched(host: Host, argv: Sequence[str]) -> Peak:
    """Run a command and return what it took at its peaks. Raises BenchError unless it ends with 0."""
    seen = _Seen()
    give_up_at = time.monotonic() + GIVE_UP_AFTER_S
    with subprocess.Popen(argv, env=host.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        while process.poll() is None:
            seen.look(process.pid)
            time.sleep(LOOK_EVERY_S)
            if time.monotonic() > give_up_at:
                process.kill()
        if process.returncode:
            said = process.stderr.read().decode() if process.stderr else ""
            raise BenchError(f"{' '.join(argv)}: exit {process.returncode}\n{said}")
    return Peak(memory_bytes=sum(seen.memory.values()), read_bytes=seen.read)


def _children(pid: int) -> Iterator[int]:
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            yield from map(int, file.read_text().split())


def _number(pid: int, file: str, key: str) -> int:
    found = re.search(rf"^{key}:\s+(\d+)", Path(f"/proc/{pid}/{file}").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0
