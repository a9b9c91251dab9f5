"""Start, know again and end processes, without ever signalling one that is not ours."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from .errors import LabError

MARK = "VIRTRBD_LAB_DAEMON"
"""Environment variable that every daemon of a lab carries; its value is the lab's folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process for its whole life: a pid is used again, a pid with its start time is not."""

    pid: int
    start: int  # clock ticks since boot, field 22 of /proc/PID/stat


def find(pid: int) -> Process | None:
    """Return the live process with this pid; None when there is none or only a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name may hold spaces and brackets, so count fields from the last bracket on.
    fields = stat.rpartition(")")[2].split()
    if fields[0] in "ZX":
        return None
    return Process(pid=pid, start=int(fields[19]))


def is_alive(process: Process) -> bool:
    """Tell whether exactly this process still runs."""
    return find(process.pid) == process


def boot_id() -> str:
    """Return what tells this boot of the machine from all others."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """A daemon of the lab: how it starts, where it logs, and which process it is now."""

    name: str
    argv: tuple[str, ...]
    log: Path  # what the daemon writes to stdout and stderr
    record: Path  # which process it is; written at each start
    lab: Path

    def process(self) -> Process | None:
        """Return the daemon's live process, or None."""
        recorded = self.recorded()
        return recorded if recorded and is_alive(recorded) else None

    def recorded(self) -> Process | None:
        """Return the process of the last start in this boot, dead or alive; None when no record tells."""
        try:
            record = json.loads(self.record.read_text())
            same_boot = record["boot"] == boot_id()  # start times count from boot
            return Process(pid=record["pid"], start=record["start"]) if same_boot else None
        except (FileNotFoundError, ValueError, KeyError):  # none, or cut short when its writer was killed
            return None

    def start(self) -> None:
        """Start the daemon in a session of its own, and record its process."""
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={**plain_environment(), MARK: str(self.lab)},
                start_new_session=True,
            )
        process = find(child.pid)
        if process is None:
            raise self.failure("ended at once")
        self.record.write_text(json.dumps(asdict(process) | {"boot": boot_id()}))

    def failure(self, fact: str) -> LabError:
        """Return the error that says what happened to the daemon, with the end of its log."""
        return LabError(f"{self.name} did not start", fact, f"the end of {self.log}:\n{self.last_lines()}")

    def last_lines(self, count: int = 12) -> str:
        """Return the end of the daemon's log, indented."""
        with suppress(FileNotFoundError):
            lines = self.log.read_text(errors="replace").splitlines()
            return "\n".join(f"    {line}" for line in lines[-count:]) or "    (empty)"
        return "    (no log)"


def plain_environment() -> Mapping[str, str]:
    """Return the environment for the lab's own tools: without the caller's CEPH_ARGS and the like."""
    foreign = ("CEPH_", "LIBVIRT_", "VIRSH_", "VIRTRBD_", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return kept | {"LC_ALL": "C.UTF-8"}


def run(argv: Sequence[str], *, seconds: float = 30) -> str:
    """Return the stdout of a command. Raises LabError when it fails or takes longer than `seconds`."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            env=plain_environment(),
        )
    except subprocess.TimeoutExpired:
        raise LabError(" ".join(argv), f"no answer within {seconds:g} s", "see tools/lab status") from None
    if done.returncode:
        fact = done.stderr.strip() or f"exit {done.returncode}"
        raise LabError(" ".join(argv), fact, "see tools/lab status")
    return done.stdout


def wait_for(what: str, is_so: Callable[[], bool], *, seconds: float, daemons: Iterable[Daemon] = ()) -> None:
    """Ask until `is_so`. Raises LabError after `seconds`, or at once when a daemon is dead."""
    daemons = tuple(daemons)
    deadline = time.monotonic() + seconds
    while not is_so():
        for daemon in daemons:
            if daemon.process() is None:
                raise daemon.failure(f"it ended while waiting for {what}")
        if time.monotonic() > deadline:
            logs = ", ".join(str(daemon.log) for daemon in daemons) or "tools/lab status"
            raise LabError(what, f"not so after {seconds:g} s", f"look into {logs}")
        time.sleep(0.05)


def all_processes() -> Iterator[Process]:
    """Yield every live process of the machine."""
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (process := find(int(entry))):
            yield process


def marked(lab: Path) -> Iterator[Process]:
    """Yield the processes that carry the mark of this lab: its daemons, even when their records are gone."""
    mark = f"{MARK}={lab}".encode()
    for process in all_processes():
        # Processes come and go while we look; kernel threads have no environment.
        with suppress(OSError):
            if mark in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0"):
                yield process


def neighbours(processes: Iterable[Process]) -> Iterator[Process]:
    """Yield all that live in the mount namespaces of these processes, except in the machine's own."""
    own = _mount_namespace(os.getpid())
    namespaces = {_mount_namespace(process.pid) for process in processes} - {own, None}
    for process in all_processes():
        if _mount_namespace(process.pid) in namespaces:
            yield process


def _mount_namespace(pid: int) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:  # it is gone
        return None


def end(processes: Iterable[Process], *, seconds: float = 5) -> None:
    """End these processes: SIGTERM, and SIGKILL for those that still run after `seconds`."""
    left = _signalled(processes, signal.SIGTERM)
    _await_end(left, seconds)
    # Only SIGKILL reaches a stopped process, and QEMU ignores SIGTERM while its disk hangs.
    left = _signalled(left, signal.SIGKILL)
    _await_end(left, seconds)
    survivors = [str(process.pid) for process in left if is_alive(process)]
    if survivors:
        raise LabError("ending processes", f"{', '.join(survivors)} outlive SIGKILL", "ask ps for their state")


def _signalled(processes: Iterable[Process], number: signal.Signals) -> list[Process]:
    """Signal those processes that still run, and return them."""
    return [process for process in processes if _signal(process, number)]


def _signal(process: Process, number: signal.Signals) -> bool:
    """Signal exactly this process; False when it is gone."""
    try:
        # A pidfd stays with its process: between check and signal the pid can't become another's.
        pidfd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        if not is_alive(process):
            return False
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(pidfd)
    return True


def _await_end(processes: Iterable[Process], seconds: float) -> None:
    """Wait until all processes have ended, at most `seconds`."""
    deadline = time.monotonic() + seconds
    for process in processes:
        with suppress(ProcessLookupError):
            pidfd = os.pidfd_open(process.pid)
            try:
                # A pidfd is readable once its process has ended.
                if is_alive(process):
                    select.select([pidfd], [], [], max(0.0, deadline - time.monotonic()))
            finally:
                os.close(pidfd)
