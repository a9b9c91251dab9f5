"""One host as crash tests see it, with a virtrbd that is killed at any step."""

import json
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import libvirt
import rados
import rbd
from support.lab import LabHost
from support.waiting import remove_image

MIB = 1024**2
WHEN = ("before", "after")

# virtrbd, killed before or after the n-th call by which it changes the world. Each is noted in a file as it comes.
CRASHING = """
import os, signal, subprocess, sys
import libvirt, rbd
from virtrbd.__main__ import main
import virtrbd.ceph.header_io, virtrbd.images.transfer
n, when, log = int(sys.argv.pop(1)), sys.argv.pop(1), open(sys.argv.pop(1), "a")
came = 0

def step(name, call, counts=lambda *_, **__: True):
    def run(*words, **more):
        global came
        if not counts(*words, **more):
            return call(*words, **more)
        came += 1
        print(name, file=log, flush=True)
        is_the_one = came == n
        if is_the_one and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = call(*words, **more)
        if is_the_one:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return run

class Image(rbd.Image):
    pass

STEPS = {
    rbd.RBD: ("create", "clone", "remove", "rename", "trash_move", "trash_remove"),
    Image: (
        "resize", "metadata_set", "metadata_remove", "create_snap", "protect_snap", "unprotect_snap", "remove_snap",
        "write",
        "rollback_to_snap", "flatten",
    ),
    libvirt.virConnect: ("defineXML", "defineXMLFlags", "secretDefineXML", "secretDefineXMLFlags"),
    libvirt.virSecret: ("setValue", "undefine"),
    libvirt.virDomain: (
        "create", "createWithFlags", "destroy", "undefine", "undefineFlags", "setAutostart",
        "setMetadata", "blockResize",
    ),
}
for owner, names in STEPS.items():
    for name in names:
        if hasattr(owner, name):
            setattr(owner, name, step(f"{owner.__name__}.{name}", getattr(owner, name)))
rbd.Image = Image
# Before anything imports it by its name.
virtrbd.ceph.header_io.write_metadata = step("write_metadata", virtrbd.ceph.header_io.write_metadata)
def is_intent(path, *_, dst_dir_fd=None, **__):
    # A half file is renamed within its folder, which is open.
    folder = os.readlink(f"/proc/self/fd/{dst_dir_fd}") if dst_dir_fd is not None else str(path)
    return "/intents" in folder

for name in ("rename", "unlink"):
    setattr(os, name, step(f"intent {name}", getattr(os, name), is_intent))
subprocess.Popen = step("qemu-img convert", subprocess.Popen, lambda argv, *_, **__: "convert" in argv)
main()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabWorld:
    """One host as the tests see it: virtrbd as its operator runs it, libvirt and Ceph by their own bindings."""

    host: LabHost
    env: dict[str, str]
    libvirt: libvirt.virConnect
    vms: rados.Ioctx

    def virtrbd(self, *words: str, program: Sequence[str] = ("-m", "virtrbd")) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *program, *words], env=self.env, cwd=self.host.folder, capture_output=True, text=True,
            check=False, timeout=50, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def ok(self, *words: str) -> str:
        """Run virtrbd, which must succeed, and return its output."""
        done = self.virtrbd(*words)
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def document(self, *words: str) -> dict[str, Any]:
        """Return the JSON document that virtrbd answers, whatever it ends with."""
        done = self.virtrbd(*words, "--output", "json")
        document: dict[str, Any] = json.loads(done.stdout)
        assert document.pop("schema") == 1
        return document

    @property
    def pool(self) -> str:
        """The pool that its images are in, and the namespace."""
        return f"vms/{self.vms.get_namespace()}".removesuffix("/")

    def image(self, name: str) -> dict[str, Any]:
        """Return what `image info` says of an image of its pool."""
        found: dict[str, Any] = self.document("image", "info", f"{self.pool}/{name}")["image"]
        return found

    def run_killed(self, n: int, when: str, *words: str) -> tuple[int, list[str]]:
        """Run virtrbd, killed at the n-th step; return its exit code and the steps that it came to."""
        log = self.host.folder / f"{uuid.uuid4().hex}.steps"
        done = self.virtrbd(*words, program=("-c", CRASHING, str(n), when, str(log)))
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, log.read_text().splitlines() if log.exists() else []

    def images(self, name: str) -> list[str]:
        return sorted(image for image in rbd.RBD().list(self.vms) if image.startswith(f"{name}."))

    def content(self, image: str) -> bytes:
        with rbd.Image(self.vms, image, read_only=True) as opened:
            return bytes(opened.read(0, opened.size()))

    def intents(self, name: str) -> list[str]:
        return [file.name for file in (self.state / "intents").glob(f"{quote(f'vms/{name}.', safe='')}*")]

    @property
    def state(self) -> Path:
        [folder] = re.findall('state_dir: "(.*)"', Path(self.env["VIRTRBD_CONFIG"]).read_text())
        return Path(folder)

    def secrets(self) -> list[libvirt.virSecret]:
        return [found for found in self.libvirt.listAllSecrets() if found.usageID().startswith("client.virtrbd@")]

    def forget(self, name: str) -> None:
        """Take away a domain and its images."""
        # A connection of its own: libvirt works at five calls of one client at a time, and a destroy takes seconds.
        with suppress(libvirt.libvirtError), closing(libvirt.open(self.libvirt.getURI())) as connection:
            domain = connection.lookupByName(name)
            if domain.isActive():
                domain.destroy()
            domain.undefine()
        for image in self.images(name):
            remove_image(self.vms, image)


@contextmanager
def world_of(host: LabHost) -> Iterator[LabWorld]:
    """The world of a host's operator."""
    env = host.env()
    ceph = rados.Rados(conffile=env["CEPH_CONF"], rados_id="virtrbd")
    ceph.connect(timeout=10)
    libvirt.registerErrorHandler(lambda *_: None, None)
    yield LabWorld(host=host, env=env, libvirt=libvirt.open(env["LIBVIRT_DEFAULT_URI"]), vms=ceph.open_ioctx("vms"))
    ceph.shutdown()


def with_clones_v2(world: LabWorld) -> LabWorld:
    """The same world, where this operator's client makes clones v2: the cluster's settings are every test's."""
    settings, conf = Path(world.env["VIRTRBD_CONFIG"]).read_text(), Path(world.env["CEPH_CONF"])
    own_conf, own_settings = world.host.folder / "v2.ceph.conf", world.host.folder / "v2.yaml"
    own_conf.write_text(conf.read_text() + "rbd_default_clone_format = 2\n")
    own_settings.write_text(settings.replace(f'conf: "{conf}"', f'conf: "{own_conf}"'))
    return replace(world, env={**world.env, "VIRTRBD_CONFIG": str(own_settings)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What disks are made from, and what is in it."""

    snapshot: str
    snapshot_content: bytes
    file: Path
    file_content: bytes


def argvs() -> dict[int, bytes]:
    """The command lines of all processes."""
    found = {}
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found[int(file.parent.name)] = file.read_bytes()
    # The dead that nobody asked for yet have none.
    return {pid: argv for pid, argv in found.items() if argv}


def importer(name: str) -> int | None:
    """The qemu-img that writes to the domain's image."""
    return next(
        (
            pid
            for pid, argv in argvs().items()
            if argv.startswith(b"qemu-img\0convert") and f"/{name}.".encode() in argv
        ),
        None,
    )


def is_partly_filled(world: LabWorld, image: str) -> bool:
    filled = 0

    def count(_offset: int, length: int, exists: bool) -> None:
        nonlocal filled
        filled += length if exists else 0

    with rbd.Image(world.vms, image, read_only=True) as opened:
        opened.diff_iterate(0, opened.size(), None, count, whole_object=True)
        return 0 < filled < int(opened.size())
