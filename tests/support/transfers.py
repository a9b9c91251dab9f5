"""Transfers that are stopped in their middle, and pools that run full under them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from support.lab import LabHost
from support.operators import Operator
from support.waiting import eventually
from support.worlds import LabWorld, argvs, is_partly_filled


@dataclass(slots=True, kw_only=True)
class Transfer:
    """A virtrbd in the middle of an import or a copy; what does its work stands still until `go_on`."""

    image: str
    virtrbd: subprocess.Popen[str]
    worker: int

    def go_on(self) -> None:
        # A virtrbd that saw the trouble meanwhile has ended it.
        with suppress(ProcessLookupError):
            os.kill(self.worker, signal.SIGCONT)

    def end(self) -> tuple[int, str]:
        """Wait for its end; return its exit code and what it said."""
        out, err = self.virtrbd.communicate(timeout=50)
        assert "Traceback" not in err
        return self.virtrbd.returncode, out + err


def worker_on(image: str) -> int | None:
    """The qemu-img that fills the image."""
    # The last word is what it writes to, and ends with a zero.
    targets = {pid: argv.split(b"\0")[-2] for pid, argv in argvs().items() if argv.startswith(b"qemu-img\0convert")}
    return next((pid for pid, target in targets.items() if f":vms/{image}:".encode() in target), None)


def is_stopped_in_the_middle(world: LabWorld, image: str, worker: int) -> bool:
    """Stop the worker, and let it go on for a moment where nothing is written yet: it must not end while we look."""
    os.kill(worker, signal.SIGSTOP)
    if is_partly_filled(world, image):
        return True
    os.kill(worker, signal.SIGCONT)
    return False


@contextmanager
def in_the_middle(world: LabWorld, operator: Operator, image: str, *words: str) -> Iterator[Transfer]:
    """Run a verb that fills the image, and stop its qemu-img once something is written."""
    process = subprocess.Popen(
        [sys.executable, "-m", "virtrbd", "image", *words], env=operator.env, cwd=operator.folder, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    worker = None
    try:
        while worker is None:
            assert process.poll() is None, process.communicate()
            worker = worker_on(image)
        eventually(f"something is written to {image}", lambda: is_stopped_in_the_middle(world, image, worker))
        assert process.poll() is None, "it was done before it could be stopped"
        yield Transfer(image=image, virtrbd=process, worker=worker)
    finally:
        process.kill()
        process.wait()
        with suppress(ProcessLookupError):
            if worker:
                os.kill(worker, signal.SIGKILL)


def pool_flags(host: LabHost, pool: str) -> list[str]:
    pools = json.loads(host.ok("ceph", "osd", "pool", "ls", "detail", "--format", "json", admin=True))
    [found] = [each["flags_names"] for each in pools if each["pool_name"] == pool]
    return str(found).split(",")


@contextmanager
def full(host: LabHost, pool: str = "vms") -> Iterator[None]:
    """The pool is over its quota, and Ceph has noticed."""
    host.ok("ceph", "osd", "pool", "set-quota", pool, "max_bytes", "4096", admin=True)
    try:
        eventually("the pool is full", lambda: "full" in pool_flags(host, pool))
        yield
    finally:
        host.ok("ceph", "osd", "pool", "set-quota", pool, "max_bytes", "0", admin=True)
        eventually("the pool takes data again", lambda: "full" not in pool_flags(host, pool))
