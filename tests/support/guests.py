"""Running guests, for the tests that talk to one."""

import base64
import json
import os
import subprocess
import time
from dataclasses import dataclass, field
from typing import Any

from support.waiting import eventually

# Not zeros: those would be told apart from data on the way.
FILL = "tr '\\0' x </dev/zero | dd of={file} bs=1M count=64 iflag=fullblock && sync"

PING = json.dumps({"execute": "guest-ping"})

# The disk without partitions is the second one, whatever letter the guest gave it; one group of blocks, one object.
FORMAT = """
for disk in /sys/block/[sv]d?; do
    name=${disk##*/}
    [ -e $disk/${name}1 ] || second=/dev/$name
done
mke2fs -b 4096 $second
mkdir -p /mnt
mount -t ext4 $second /mnt
sync
"""


@dataclass(slots=True, kw_only=True)
class Guest:
    """A running guest: its console is read all the time, its agent runs what a test needs."""

    name: str
    bus: str
    env: dict[str, str]
    console: int = -1
    said: str = field(default="", repr=False)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, env=self.env, capture_output=True, text=True, check=False, timeout=60)

    def ok(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def json(self, *words: str) -> dict[str, Any]:
        return dict(json.loads(self.ok("virtrbd", *words, "--output", "json")))

    def start(self) -> None:
        self.ok("virtrbd", "start", self.name)
        self.open_console()

    def open_console(self) -> None:
        """Listen to a guest that runs."""
        pty = self.json("console", self.name)["pty"]
        self.console = os.open(pty, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)

    def listen(self) -> str:
        """Return all that the console has said until now."""
        try:
            while data := os.read(self.console, 65536):
                self.said += data.decode(errors="replace")
        except (BlockingIOError, OSError):
            pass
        return self.said

    def ups(self) -> int:
        return self.listen().count(f"guest up: {self.name}")

    def await_up(self, count: int, timeout_s: float) -> None:
        """Wait until the guest has said this often that it is up."""
        give_up_at = time.monotonic() + timeout_s
        while self.ups() < count:
            assert time.monotonic() < give_up_at, f"{self.name} is not up; its console said {self.said[-1000:]!r}"
            time.sleep(0.1)

    def agent(self, command: str, **arguments: object) -> dict[str, Any]:
        words = json.dumps({"execute": command, "arguments": arguments})
        # A guest is up before libvirt has heard its agent.
        asked = ("virsh", "qemu-agent-command", self.name, "--timeout", "20")
        eventually(f"{self.name}: its agent", lambda: "is not connected" not in self.run(*asked, PING).stderr)
        return dict(json.loads(self.ok(*asked, words))["return"])

    def shell(self, script: str) -> str:
        """Run a script in the guest, which must succeed, and return its output."""
        arguments = {"path": "/bin/sh", "arg": ["-ec", script], "capture-output": True}
        pid = self.agent("guest-exec", **arguments)["pid"]
        status: dict[str, object] = {}

        def has_exited() -> object:
            status.update(self.agent("guest-exec-status", pid=pid))
            return status["exited"]

        eventually(f"{self.name}: {script}", has_exited, 40)
        assert status["exitcode"] == 0, status
        return base64.b64decode(str(status.get("out-data", ""))).decode()

    def images(self) -> list[dict[str, Any]]:
        return list(self.json("inspect", self.name)["domain"]["disks"])
