"""The lab for the whole test run; each test takes its own names."""

import fcntl
import json
import os
import subprocess
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import libvirt
import pytest
import rados
import rbd
from live.fleets import Fleet, fleet_on
from operators import Operator, operator_of
from sources import as_disk
from worlds import MIB, Sources, World, world_of

CHECKOUT = Path(__file__).parent.parent.parent

# A lab for each worker (tools/test): what disturbs a lab disturbs no other test then.
if labs := os.environ.get("VIRTRBD_WORKER_LABS", "").split():
    os.environ["VIRTRBD_LAB_DIR"] = labs[int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/live/" in str(item.path):
            item.add_marker(pytest.mark.live)


@cache
def environment_of(host: str, lab_dir: str, *, is_admin: bool) -> Mapping[str, str]:
    """What tools/lab env sets, asked for once: Python's start costs more than most of what is then run."""
    who = ["--admin"] if is_admin else []
    words = [str(CHECKOUT / "tools/lab"), "env", "--host", host, *who, "--", "env", "-0"]
    where = {"VIRTRBD_LAB_DIR": lab_dir} if lab_dir else {}
    found = subprocess.check_output(words, env={**os.environ, **where}, text=True).split("\0")
    changed = dict(pair.split("=", 1) for pair in found if pair)
    return {key: value for key, value in changed.items() if os.environ.get(key) != value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One host of the lab: runs virtrbd, virsh and Ceph's tools as its operator would."""

    name: str
    folder: Path
    lab_dir: str = ""

    def run(self, *words: str, admin: bool = False, timeout_s: float = 55) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, **environment_of(self.name, self.lab_dir, is_admin=admin)}
        return subprocess.run(
            words, env=env, cwd=self.folder, capture_output=True, text=True, check=False, timeout=timeout_s,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

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
        for domain in (found for found in domains_on(host) if found.startswith(name)):
            host.run("virsh", "destroy", domain)
            host.run("virsh", "undefine", domain, "--managed-save", "--nvram")
    for image in (found for found in images_of(host) if found.startswith(name)):
        host.run("rbd", "rm", "--no-progress", f"vms/{image}", admin=True)


def domains_on(host: Host) -> list[str]:
    """The names of the host's domains, by the binding: virsh starts for each test otherwise."""
    uri = environment_of(host.name, host.lab_dir, is_admin=False)["LIBVIRT_DEFAULT_URI"]
    with closing(libvirt.open(uri)) as connection:
        return [domain.name() for domain in connection.listAllDomains()]


def images_of(host: Host) -> list[str]:
    """The names of the images of the pool vms."""
    conf = environment_of(host.name, host.lab_dir, is_admin=True)["CEPH_CONF"]
    with rados.Rados(conffile=conf, rados_id="admin") as cluster, cluster.open_ioctx("vms") as ioctx:
        found: list[str] = rbd.RBD().list(ioctx)
        return found


@pytest.fixture(scope="session")
def environments(lab: dict[str, object]) -> dict[str, dict[str, str]]:  # noqa: ARG001
    """The environment of each host's operator."""
    hosts = ("kvm-1", "kvm-2")
    return {host: {**os.environ, **environment_of(host, "", is_admin=False)} for host in hosts}


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
    in_snapshot, in_file = os.urandom(4 * MIB), as_disk(os.urandom(6 * MIB))
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
