"""The lab for the whole test run; each test takes its own names."""

import fcntl
import json
import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import rbd
from support.checkout import CHECKOUT
from support.fleets import Fleet, fleet_on
from support.hooks import Hooked, hooked_on
from support.lab import LAB, LabHost, domains_on, images_of
from support.operators import Operator, operator_of
from support.sources import as_disk
from support.worlds import MIB, LabWorld, Sources, world_of

# A lab for each worker (tools/test): what disturbs a lab disturbs no other test then.
if labs := os.environ.get("VIRTRBD_WORKER_LABS", "").split():
    os.environ["VIRTRBD_LAB_DIR"] = labs[int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/live/" in str(item.path):
            item.add_marker(pytest.mark.live)


@pytest.fixture(scope="session")
def lab() -> Path:
    """The lab's folder; without a lab this fails, it never skips."""
    for _ in range(3):
        done = subprocess.run([LAB, "status", "--json"], capture_output=True, text=True, check=False)
        # On a busy machine a monitor that is up may take longer to answer than `status` waits.
        if not done.returncode or "does not answer" not in done.stdout:
            break
    if done.returncode:
        pytest.fail(f"the lab is not up; run tools/lab up --hosts 2\n{done.stdout}{done.stderr}", pytrace=False)
    return Path(json.loads(done.stdout)["folder"])


@pytest.fixture
def make_host(lab: Path, tmp_path: Path) -> Callable[[str], LabHost]:  # noqa: ARG001
    def make(name: str) -> LabHost:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        return LabHost(name=name, folder=folder)

    return make


@pytest.fixture
def host(make_host: Callable[[str], LabHost]) -> LabHost:
    return make_host("kvm-1")


@pytest.fixture
def hosts(make_host: Callable[[str], LabHost]) -> tuple[LabHost, LabHost]:
    return make_host("kvm-1"), make_host("kvm-2")


@pytest.fixture
def name(make_host: Callable[[str], LabHost]) -> Iterator[str]:
    """A domain name of the test's own; what it left behind on either host is taken away."""
    name = f"t{uuid.uuid4().hex[:10]}"
    yield name
    for host in map(make_host, ("kvm-1", "kvm-2")):
        for domain in (found for found in domains_on(host) if found.startswith(name)):
            host.run("virsh", "destroy", domain)
            host.run("virsh", "undefine", domain, "--managed-save", "--nvram")
    for image in (found for found in images_of(host) if found.startswith(name)):
        host.run("rbd", "rm", "--no-progress", f"vms/{image}", admin=True)


@pytest.fixture
def fleet(host: LabHost, tmp_path: Path) -> Iterator[Fleet]:
    """A directory of specs on kvm-1, with a state directory of its own."""
    with fleet_on(host.env(), tmp_path) as fleet:
        yield fleet


@pytest.fixture
def network(fleet: Fleet) -> Iterator[str]:
    """A libvirt network without an address, named as the fleet."""
    xml = f"<network><name>{fleet.name}</name><bridge name='vr{fleet.name[-8:]}'/></network>"
    made = fleet.connection.networkCreateXML(xml)
    yield fleet.name
    made.destroy()


@pytest.fixture(scope="session")
def libvirt_version() -> tuple[int, ...]:
    """The version of this machine's libvirt, as numbers: what a test knows of it may be another one's fact."""
    said = subprocess.run(["virsh", "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(map(int, said.strip().split(".")))


@pytest.fixture(scope="session")
def golden(lab: Path) -> str:
    """The snapshot that test guests are cloned from, named for its recipe: a lab may outlive one."""
    tool = [LAB, "env", "--"]

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, capture_output=True, text=True, check=False, env=os.environ)

    file = run(str(CHECKOUT / "tools/guest")).stdout.split()[-1]
    snapshot = f"golden/{Path(file).stem}@v1"
    # Several workers want it at the same moment.
    with (lab / "golden.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if run(*tool, "rbd", "info", snapshot).returncode:
            done = run(*tool, "virtrbd", "image", "import", "--as-base", file, snapshot)
            assert done.returncode == 0, done.stderr
    return snapshot


@pytest.fixture
def make_world(make_host: Callable[[str], LabHost]) -> Iterator[Callable[[str], LabWorld]]:
    with ExitStack() as worlds:
        yield lambda name: worlds.enter_context(world_of(make_host(name)))


@pytest.fixture
def world(make_world: Callable[[str], LabWorld]) -> LabWorld:
    return make_world("kvm-1")


@pytest.fixture
def room(world: LabWorld, name: str) -> Iterator[str]:
    """A namespace of the test's own, whose trash it may purge."""
    rbd.RBD().namespace_create(world.vms, name)
    yield f"vms/{name}"
    rbd.RBD().namespace_remove(world.vms, name)


@pytest.fixture
def roomed(world: LabWorld, room: str, name: str) -> Iterator[LabWorld]:  # noqa: ARG001
    """The same world, whose images are in that namespace."""
    world.vms.set_namespace(name)
    yield world
    world.vms.set_namespace("")


@pytest.fixture
def sources(world: LabWorld, name: str) -> Iterator[Sources]:
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
def hooked(hosts: tuple[LabHost, LabHost], lab: Path) -> Iterator[tuple[Hooked, Hooked]]:
    """Both hosts, with the hook in their libvirt's folder."""
    with hooked_on(hosts[0], lab) as first, hooked_on(hosts[1], lab) as second:
        yield first, second


@pytest.fixture
def both(hooked: tuple[Hooked, Hooked], name: str) -> tuple[Hooked, Hooked]:
    """The same, with a domain of one image defined on both."""
    for each in hooked:
        each.host.ok("virtrbd", "define", each.host.spec(name, "disks:\n  - size: 16M\n"), "--allow", "takes-over")
    return hooked


@pytest.fixture
def operator(host: LabHost) -> Operator:
    return operator_of(host)
