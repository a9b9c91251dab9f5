"""One host of the lab, as its operator has it."""

import json
import os
import re
import subprocess
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import libvirt
import rados
import rbd
from support.checkout import CHECKOUT

LAB = str(CHECKOUT / "tools/lab")


@cache
def environment_of(host: str, lab_dir: str, *, is_admin: bool) -> Mapping[str, str]:
    """What tools/lab env sets, asked for once: Python's start costs more than most of what is then run."""
    who = ["--admin"] if is_admin else []
    words = [LAB, "env", "--host", host, *who, "--", "env", "-0"]
    where = {"VIRTRBD_LAB_DIR": lab_dir} if lab_dir else {}
    found = subprocess.check_output(words, env={**os.environ, **where}, text=True).split("\0")
    changed = dict(pair.split("=", 1) for pair in found if pair)
    return {key: value for key, value in changed.items() if os.environ.get(key) != value}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabHost:
    """One host of the lab: runs virtrbd, virsh and Ceph's tools as its operator would."""

    name: str
    folder: Path
    lab_dir: str = ""

    def env(self, *, admin: bool = False) -> dict[str, str]:
        """The whole environment of its operator, or of Ceph's administrator."""
        return {**os.environ, **environment_of(self.name, self.lab_dir, is_admin=admin)}

    def run(self, *words: str | bytes, admin: bool = False, timeout_s: float = 55) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words, env=self.env(admin=admin), cwd=self.folder, capture_output=True, text=True, check=False,
            timeout=timeout_s, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def lab(self, *words: str, timeout_s: float = 55) -> subprocess.CompletedProcess[str]:
        """Run tools/lab on the lab that the host is of."""
        where = {"VIRTRBD_LAB_DIR": self.lab_dir} if self.lab_dir else {}
        return subprocess.run(
            [LAB, *words], env={**os.environ, **where}, cwd=self.folder,
            capture_output=True, text=True, check=False, timeout=timeout_s, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def virtrbd(self, *words: str, timeout_s: float = 55) -> subprocess.CompletedProcess[str]:
        return self.run("virtrbd", *words, timeout_s=timeout_s)

    def ok(self, *words: str, admin: bool = False) -> str:
        """Run a command that must succeed and return its output."""
        done = self.run(*words, admin=admin)
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def inspect(self, name: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.ok("virtrbd", "inspect", name, "--output", "json"))["domain"]
        return document

    def spec(self, name: str, text: str) -> str:
        """Write a spec file and return its name."""
        file = self.folder / f"{name}.yaml"
        file.write_text(f"name: {name}\nmemory: 128M\n{text}")
        return file.name

    def settings_with(self, **timeouts: float) -> str:
        """Write a settings file like the lab's with other timeouts, and return its path."""
        text = Path(self.env()["VIRTRBD_CONFIG"]).read_text()
        lines = "".join(f"  {key}: {value}\n" for key, value in timeouts.items())
        file = self.folder / "settings.yaml"
        file.write_text(re.sub(r"timeouts:\n(  .*\n)+", f"timeouts:\n{lines}", text))
        return str(file)

    def watchers(self, image: str) -> list[str]:
        """The addresses of the clients that have the image open read-write."""
        return re.findall(r"watcher=(\S+)", self.ok("rbd", "status", image))


def domains_on(host: LabHost) -> list[str]:
    """The names of the host's domains, by the binding: virsh starts for each test otherwise."""
    uri = environment_of(host.name, host.lab_dir, is_admin=False)["LIBVIRT_DEFAULT_URI"]
    with closing(libvirt.open(uri)) as connection:
        return [domain.name() for domain in connection.listAllDomains()]


def images_of(host: LabHost) -> list[str]:
    """The names of the images of the pool vms."""
    conf = environment_of(host.name, host.lab_dir, is_admin=True)["CEPH_CONF"]
    with rados.Rados(conffile=conf, rados_id="admin") as cluster, cluster.open_ioctx("vms") as ioctx:
        found: list[str] = rbd.RBD().list(ioctx)
        return found
