"""The lab for the whole test run; each test takes its own names."""

import fcntl
import json
import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import rbd
from live.fleets import Fleet, fleet_on
from operators import Operator, operator_of
from worlds import MIB, Sources, World, world_of

CHECKOUT = Path(__file__).parent.parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/live/" in str(item.path):
            item.add_marker(pytest.mark.live)


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One host of the lab: runs virtrbd, virsh and Ceph's tools as its operator would."""

    name: str
    folder: Path
    lab_dir: str = ""

    def run(self, *words: str, admin: bool = False, timeout_s: float = 55) -> subprocess.CompletedProcess[str]:
        who = ["--admin"] if admin else []
        return self.lab("env", "--host", self.name, *who, "--", *words, timeout_s=timeout_s)

    def lab(self, *words: str, timeout_s: float = 55) -> subprocess.CompletedProcess[str]:
        """Run tools/lab on the lab that the host is of."""
        where = {"VIRTRBD_LAB_DIR": self.lab_dir} if self.lab_dir else {}
        return subprocess.run(
            [str(CHECKOUT / "tools/lab"), *words], env={**os.environ, **where}, cwd=self.folder,
            capture_output=True, text=True, check=False, timeout=timeout_s, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def virtrbd(self, *words: str, timeout_s: float = 55) -> subprocess.CompletedProcess[str]:
        return self.run("virtrbd", *words, timeout_s=timeout_s)

    def ok(self, *words: str, admin: bool = False) -> str:
        """Run a command that must succeed and return its output."""
        done = self.run(*words, admin=admin)
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def inspect(self, name: str) -> dict[str, object]:
        document: dict[str, object] = json.loads(self.ok("virtrbd", "inspect", name, "--output", "json"))["domain"]
        return document

    def spec(self, name: str, text: str) -> str:
        """Write a spec file and return its name."""
        file = self.folder / f"{name}.yaml"
        file.write_text(f"name: {name}\nmemory: 128M\n{text}")
        return file.name


@pytest.fixture(scope="session")
def lab() -> dict[str, object]:
    """The lab's status; without a lab this fails, it never skips."""
    done = subprocess.run(
        [str(CHECKOUT / "tools/lab"), "status", "--json"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.fail(f"the lab is not up; run tools/lab up --hosts 2\n{done.stdout}{done.stderr}", pytrace=False)
    status: dict[str, object] = json.loads(done.stdout)
    return status


@pytest.fixture
def make_host(lab: dict[str, object], tmp_path: Path) -> Callable[[str], Host]:  # noqa: ARG001
    def make(name: str) -> Host:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        return Host(name=name, folder=folder)

    return make


@pytest.fixture
def host(make_host: Callable[[str], Host]) -> Host:
    return make_host("kvm-1")


@pytest.fixture
def name(make_host: Callable[[str], Host]) -> Iterator[str]:
    """A domain name of the test's own; what it left behind on either host is taken away."""
    name = f"t{uuid.uuid4().hex[:10]}"
    yield name
    for host in map(make_host, ("kvm-1", "kvm-2")):
        listed = host.run("virsh", "list", "--all", "--name").stdout.split()
        for domain in (found for found in listed if found.startswith(name)):
            host.run("virsh", "destroy", domain)
            host.run("virsh", "undefine", domain, "--managed-save", "--nvram")
    images = host.run("rbd", "ls", "vms", admin=True).stdout.split()
    for image in (found for found in images if found.startswith(name)):
        host.run("rbd", "rm", "--no-progress", f"vms/{image}", admin=True)


@pytest.fixture(scope="session")
def environments(lab: dict[str, object]) -> dict[str, dict[str, str]]:  # noqa: ARG001
    """The environment of each host's operator."""
    tool = [str(CHECKOUT / "tools/lab"), "env", "--host"]
    return {
        host: dict(
            pair.split("=", 1)
            for pair in subprocess.check_output([*tool, host, "--", "env", "-0"], text=True).split("\0")
            if pair
        )
        for host in ("kvm-1", "kvm-2")
    }


@pytest.fixture
def fleet(environments: dict[str, dict[str, str]], tmp_path: Path) -> Iterator[Fleet]:
    """A directory of specs on kvm-1, with a state directory of its own."""
    with fleet_on(environments["kvm-1"], tmp_path) as fleet:
        yield fleet


@pytest.fixture(scope="session")
def libvirt_version() -> tuple[int, ...]:
    """The version of this machine's libvirt, as numbers: what a test knows of it may be another one's fact."""
    said = subprocess.run(["virsh", "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(map(int, said.strip().split(".")))


@pytest.fixture(scope="session")
def golden(lab: dict[str, object]) -> str:
    """The snapshot that test guests are cloned from, named for its recipe: a lab may outlive one."""
    tool = [str(CHECKOUT / "tools/lab"), "env", "--"]
    quiet = {"capture_output": True, "text": True, "check": False, "env": os.environ}
    file = subprocess.run([str(CHECKOUT / "tools/guest")], **quiet).stdout.split()[-1]  # type: ignore[call-overload]
    snapshot = f"golden/{Path(file).stem}@v1"
    # Several workers want it at the same moment.
    with (Path(str(lab["folder"])) / "golden.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if subprocess.run([*tool, "rbd", "info", snapshot], **quiet).returncode:  # type: ignore[call-overload]
            words = [*tool, "virtrbd", "image", "import", "--as-base", file, snapshot]
            done = subprocess.run(words, **quiet)  # type: ignore[call-overload]
            assert done.returncode == 0, done.stderr
    return snapshot


@pytest.fixture
def make_world(make_host) -> Iterator[Callable[[str], World]]:  # type: ignore[no-untyped-def]
    with ExitStack() as worlds:
        yield lambda name: worlds.enter_context(world_of(make_host(name)))


@pytest.fixture
def world(make_world) -> World:  # type: ignore[no-untyped-def]
    made: World = make_world("kvm-1")
    return made


@pytest.fixture
def room(world, name) -> Iterator[str]:  # type: ignore[no-untyped-def]
    """A namespace of the test's own, whose trash it may purge."""
    rbd.RBD().namespace_create(world.vms, name)
    yield f"vms/{name}"
    rbd.RBD().namespace_remove(world.vms, name)


@pytest.fixture
def roomed(world, room, name) -> Iterator[World]:  # type: ignore[no-untyped-def]  # noqa: ARG001
    """The same world, whose images are in that namespace."""
    world.vms.set_namespace(name)
    yield world
    world.vms.set_namespace("")


@pytest.fixture
def sources(world, name) -> Iterator[Sources]:  # type: ignore[no-untyped-def]
    """A snapshot with data in it and a setting that clones must not inherit, and a file with data in it."""
    # Beside the specs, which may name nothing elsewhere.
    parent, file = f"{name}parent", world.host.folder / "disk.raw"
    in_snapshot, in_file = os.urandom(4 * MIB), os.urandom(6 * MIB)
    file.write_bytes(in_file)
    rbd.RBD().create(world.vms, parent, 4 * MIB, old_format=False)
    with rbd.Image(world.vms, parent) as image:
        image.write(in_snapshot, 0)
        image.metadata_set("conf_rbd_balance_parent_reads", "false")
        image.create_snap("v1")
        image.protect_snap("v1")
    yield Sources(snapshot=f"vms/{parent}@v1", snapshot_content=in_snapshot, file=file, file_content=in_file)
    with rbd.Image(world.vms, parent) as image:
        image.unprotect_snap("v1")
        image.remove_snap("v1")
    rbd.RBD().remove(world.vms, parent)


@pytest.fixture
def operator(host) -> Operator:  # type: ignore[no-untyped-def]
    return operator_of(host)
