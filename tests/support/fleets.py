"""A directory of specs and the host that reconciles them, as cron sees it: what a run said and how it ended."""

import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import libvirt
import rados
import rbd
from support.waiting import remove_image
from support.worlds import CRASHING

DISK = "disks:\n  - size: 8M\n"
MODULE = ("-m", "virtrbd")

# Killed at the calls into a running guest too.
CRASHING_IN_GUESTS = CRASHING.replace(
    '"setMetadata", "blockResize",',
    '"setMetadata", "blockResize", "attachDeviceFlags", "detachDeviceFlags", "updateDeviceFlags", "setBlockIoTune", '
    '"setMemoryFlags", "setVcpusFlags",',
)
CRASHING_LIVE = CRASHING_IN_GUESTS.replace(
    'for name in ("rename", "unlink"):', "for name in ():  # a run killed after that has not begun yet"
)

# virtrbd, with something done just before the first action: in the window between observe and execute.
IN_THE_WINDOW = """
import libvirt, os, sys
from virtrbd.__main__ import main
import virtrbd.engine.perform as performing
perform, came = performing.perform, []
def hooked(action, host):
    if not came:
        came.append(action)
        with open(LIBVIRT) as uri:
            connection = libvirt.open(uri.read())
        WINDOW
    return perform(action, host)
performing.perform = hooked
main()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a run ended, what it said, and after how long."""

    code: int
    out: str
    err: str
    took_s: float

    @property
    def said(self) -> list[str]:
        return (self.out + self.err).splitlines()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """One host with a directory of specs, settings and a state directory of its own."""

    name: str
    env: dict[str, str]
    folder: Path
    connection: libvirt.virConnect
    settings: Path
    vms: rados.Ioctx

    @property
    def specs(self) -> Path:
        return self.folder / "specs"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def spec(self, letter: str, text: str = DISK) -> str:
        """Write a spec, and return the name of its domain."""
        name = f"{self.name}{letter}"
        (self.specs / f"{name}.yaml").write_text(f"name: {name}\nmemory: 128M\n{text}")
        return name

    def set(self, **settings: str) -> None:
        """Put lines of the settings file in the place of those there are."""
        text = self.settings.read_text()
        for key, value in settings.items():
            text = re.sub(rf"^{key}: .*\n", "", text, flags=re.MULTILINE) + f"{key}: {value}\n"
        self.settings.write_text(text)

    def start(self, *words: str, program: Sequence[str] = MODULE) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, *program, *words], env=self.env, cwd=self.folder, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *words: str, program: Sequence[str] = MODULE, timeout_s: float = 55) -> Ended:
        began_at = time.monotonic()
        with self.start(*words, program=program) as process:
            try:
                out, err = process.communicate(timeout=timeout_s)
            finally:
                process.kill()
        return Ended(code=process.returncode, out=out, err=err, took_s=time.monotonic() - began_at)

    def reconcile(self, *words: str) -> Ended:
        return self.run("reconcile", *words)

    def reconcile_with(self, window: str) -> Ended:
        """Reconcile, with these words of Python run before the first action; `connection` is libvirt's."""
        uri = self.folder / "uri"
        uri.write_text(self.env["LIBVIRT_DEFAULT_URI"])
        program = IN_THE_WINDOW.replace("LIBVIRT", repr(str(uri))).replace("WINDOW", window)
        return self.run("reconcile", program=("-c", program))

    def reconcile_killed(self, *words: str) -> list[list[str]]:
        """Reconcile until a run comes to its end, each one killed after the first thing that it changes.

        Return the steps that each of them came to.
        """
        log, came, n = self.folder / "steps", [], 1
        for _ in range(40):
            log.unlink(missing_ok=True)
            run = self.run("reconcile", *words, program=("-c", CRASHING_LIVE, str(n), "after", str(log)))
            assert run.code in (0, -signal.SIGKILL), run
            assert "Traceback" not in run.err
            steps = log.read_text().splitlines() if log.exists() else []
            came.append(steps)
            if run.code == 0:
                return came
            # Some steps each run takes anew until the one after them was taken as well: the note that a guest is about
            # to run here, of title and description the first.
            is_first_of_two = steps[-1].startswith(("Image.metadata", "write_metadata"))
            is_first_of_two |= came[-2:] == [["virDomain.setMetadata"]] * 2
            # So is the generation in the mark of a guest that is about to run.
            is_first_of_two |= steps[-2:] == ["write_metadata", "virDomain.setMetadata"]
            n = n + 1 if is_first_of_two else 1
        raise AssertionError(f"it never comes to its end: {came}")

    def converges(self, *words: str) -> None:
        """The next run does what is left, and the one after that nothing."""
        done = self.reconcile(*words)
        assert done.code == 0, done
        self.is_in_sync(*words)

    def is_in_sync(self, *words: str) -> None:
        again = self.reconcile(*words)
        assert (again.code, again.out, again.err) == (0, "", ""), again

    def domain(self, name: str) -> libvirt.virDomain:
        return self.connection.lookupByName(name)

    def xml(self, name: str) -> str:
        return str(self.domain(name).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))

    def qemu_pid(self, name: str) -> int:
        return int(next(Path(self.env["VIRTRBD_LAB"]).rglob(f"{name}.pid")).read_text())


@contextmanager
def fleet_on(env: dict[str, str], folder: Path, *, timeouts: str = "watcher: 10") -> Iterator[Fleet]:
    """A fleet without specs; its domains and images are gone at the end."""
    text = re.sub(r"timeouts:\n(  .*\n)+", "", Path(env["VIRTRBD_CONFIG"]).read_text())
    text = re.sub(r"state_dir: .*\n", f"state_dir: {folder}/state\n", text)
    settings = folder / "settings.yaml"
    settings.write_text(f"{text}spec_dir: {folder}/specs\ntimeouts: {{{timeouts}}}\n")
    (folder / "specs").mkdir()
    env = {**env, "VIRTRBD_CONFIG": str(settings), "XDG_CACHE_HOME": str(folder / "cache")}
    libvirt.registerErrorHandler(lambda *_: None, None)
    name = f"t{uuid.uuid4().hex[:10]}"
    with (
        closing(libvirt.open(env["LIBVIRT_DEFAULT_URI"])) as connection,
        rados.Rados(conffile=env["CEPH_CONF"], rados_id="virtrbd") as ceph,
        ceph.open_ioctx("vms") as vms,
    ):
        try:
            yield Fleet(name=name, env=env, folder=folder, connection=connection, settings=settings, vms=vms)
        finally:
            take_away(env, vms, name)


def take_away(env: dict[str, str], vms: rados.Ioctx, name: str) -> None:
    # A connection of its own: the test may have ended libvirtd under the other one.
    with closing(libvirt.open(env["LIBVIRT_DEFAULT_URI"])) as connection:
        for domain in connection.listAllDomains():
            if domain.name().startswith(name):
                is_persistent = domain.isPersistent()
                if domain.isActive():
                    domain.destroy()
                if is_persistent:
                    domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
    for image in rbd.RBD().list(vms):
        if image.startswith(name):
            remove_image(vms, image)
