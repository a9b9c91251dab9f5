"""virtrbd with short deadlines, and a lab that breaks and heals."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from support.lab import LAB, LabHost

CEPH_S, LIBVIRT_S = 3, 6
# Connecting, one call that hangs and leaving may each take the deadline; the rest is Python's start on a busy machine.
ENDS_WITHIN_S = 3 * CEPH_S + 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a run ended, and after how long."""

    code: int
    out: str
    err: str
    took_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """Runs virtrbd on one host with short deadlines."""

    env: dict[str, str]
    folder: Path

    def run(self, *words: str, **env: str) -> Ended:
        began_at = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "virtrbd", *words], env={**self.env, **env}, cwd=self.folder,
            capture_output=True, text=True, check=False, timeout=50, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return Ended(code=done.returncode, out=done.stdout, err=done.stderr, took_s=time.monotonic() - began_at)

    def with_settings(self, name: str, change: Callable[[str], str]) -> "Operator":
        """An operator with other settings."""
        file = self.folder / f"{name}.settings.yaml"
        file.write_text(change(Path(self.env["VIRTRBD_CONFIG"]).read_text()))
        return Operator(env={**self.env, "VIRTRBD_CONFIG": str(file)}, folder=self.folder)


def operator_of(host: LabHost) -> Operator:
    deadlines = f"timeouts:\n  ceph: {CEPH_S}\n  libvirt: {LIBVIRT_S}\n  watcher: 1\n"
    return Operator(env=host.env(), folder=host.folder).with_settings(
        "short", lambda text: re.sub(r"timeouts:\n(  .*\n)+", deadlines, text)
    )


def pid_of(daemon: str) -> int:
    done = subprocess.run([LAB, "status", "--json"], capture_output=True, text=True, check=False)
    [found] = [entry["pid"] for entry in json.loads(done.stdout)["daemons"] if entry["name"] == daemon]
    return int(found)


def heal() -> None:
    subprocess.run([LAB, "up", "--hosts", "2"], check=True, capture_output=True, timeout=60)


def unpause(host: LabHost) -> None:
    host.ok("ceph", "osd", "unpause", admin=True)
