"""A host of the lab whose libvirt has virtrbd's hook."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from support.lab import LabHost
from support.operators import heal
from support.waiting import eventually

# libvirt runs it when it has looked for hooks again.
RELOADED = '#!/bin/sh\n[ "$2" != reload ] || : >"$(dirname "$0")/reloaded"\n'


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooked:
    """A host with the hook; `folder` is its folder in the lab."""

    host: LabHost
    folder: Path

    @property
    def hooks(self) -> Path:
        return self.folder / "etc/hooks"

    @property
    def file(self) -> Path:
        return self.hooks / "qemu.d/virtrbd"

    @property
    def settings(self) -> Path:
        """The settings file that the hook reads."""
        return self.host.folder / "settings.yaml"

    @property
    def starts(self) -> Path:
        return self.folder / "virtrbd/starts"

    @property
    def log(self) -> str:
        file = self.folder / "virtrbd/hook.log"
        return file.read_text() if file.exists() else ""

    @property
    def uri(self) -> str:
        uri: str = self.host.env()["LIBVIRT_DEFAULT_URI"]
        return uri

    @property
    def uuid(self) -> str:
        [uuid] = re.findall('host_uuid = "(.*)"', (self.folder / "etc/libvirtd.conf").read_text())
        return str(uuid)

    def install(self, **timeouts: float) -> None:
        """Install the hook with these timeouts."""
        self.host.ok("virtrbd", "--config", self.host.settings_with(**timeouts), "hook", "install")

    def reload(self) -> None:
        """Let libvirt look for hooks, and wait until it has."""
        daemon, reloaded = self.hooks / "daemon", self.hooks / "reloaded"
        daemon.write_text(RELOADED)
        daemon.chmod(0o755)
        os.kill(int((self.folder / "run/libvirtd.pid").read_text()), signal.SIGHUP)
        eventually("libvirt to look for hooks", reloaded.exists)
        daemon.unlink()
        reloaded.unlink()

    def boot(self) -> None:
        """Restart libvirtd as after a boot of the host, at which it starts what starts by itself."""
        pid = int((self.folder / "run/libvirtd.pid").read_text())
        os.kill(pid, signal.SIGTERM)
        eventually("libvirtd to end", lambda: not Path(f"/proc/{pid}/root/run").exists())
        (self.folder / "run/libvirt/qemu/autostarted").unlink()
        heal()

    def keeps(self, name: str) -> list[str]:
        """The starts of the domain that are under way; other tests start others."""
        return [file.name for file in self.starts.glob(f"{self.host.ok('virsh', 'domuuid', name).strip()}*")]

    def qemus(self, name: str) -> int:
        """How many QEMUs of that domain this host runs."""
        return len(self._qemus(name))

    def kill_qemu(self, name: str) -> None:
        [pid] = self._qemus(name)
        os.kill(pid, signal.SIGKILL)

    def call(self, name: str, *words: str, xml: str) -> "subprocess.CompletedProcess[str]":
        """Run the hook as libvirt does."""
        argv = [str(self.file), name, *words]
        return subprocess.run(argv, input=xml, capture_output=True, text=True, check=False, timeout=60)

    def _qemus(self, name: str) -> list[int]:
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                is_qemu = f"guest={name},debug-threads=on".encode() in words
                if is_qemu and os.path.samefile(entry / "root/run", self.folder / "run"):
                    found.append(int(entry.name))
        return found


@contextmanager
def hooked_on(host: LabHost, lab: Path) -> Iterator[Hooked]:
    """Install the hook on a host, and remove it at the end."""
    hooked = Hooked(host=host, folder=lab / "hosts" / host.name)
    hooked.install(watcher=2, ceph=10, hook=30)
    hooked.reload()
    try:
        yield hooked
    finally:
        hooked.file.unlink(missing_ok=True)
