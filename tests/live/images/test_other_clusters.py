"""What a whole cluster is set to, on one of its own: erasure coding, clones v2, mirrors, no space left."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import rbd
from support.lab import LabHost
from support.waiting import eventually
from support.worlds import MIB, LabWorld, world_of

DATA_POOL = "coded"
OSD_CAPS = ", ".join(f"profile rbd pool={pool}" for pool in ("vms", "golden"))
GOES = ("--now", "--clear", "--allow", "loses-data")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabWorld]:
    """A cluster that no other test uses, with an erasure-coded pool."""
    with ExitStack() as ends:
        # Not in pytest's own folder: the paths of sockets must be short. tools/test names one where it looks for labs
        # whose test was killed.
        labs = os.environ.get("VIRTRBD_TEST_LABS")
        lab_dir = ends.enter_context(tempfile.TemporaryDirectory(prefix="lab-", dir=labs))
        host = LabHost(name="kvm-1", folder=tmp_path_factory.mktemp("cluster"), lab_dir=f"{lab_dir}/lab")
        ends.callback(host.lab, "down")
        up = host.lab("up", "--osds", "3", timeout_s=110)
        assert up.returncode == 0, up.stderr
        profile = ("k=2", "m=1", "crush-failure-domain=osd")
        ceph(host, "osd", "erasure-code-profile", "set", "two-and-one", *profile)
        ceph(host, "osd", "pool", "create", DATA_POOL, "8", "8", "erasure", "two-and-one")
        ceph(host, "osd", "pool", "set", DATA_POOL, "allow_ec_overwrites", "true")
        ceph(host, "osd", "pool", "application", "enable", DATA_POOL, "rbd")
        yield ends.enter_context(world_of(host))


def ceph(host: LabHost, *words: str) -> str:
    return host.ok("ceph", *words, admin=True)


@contextmanager
def caps_for(world: LabWorld, *pools: str) -> Iterator[None]:
    """Give the operator the rights of these pools too."""
    rights = {"mon": "profile rbd", "mgr": OSD_CAPS}

    def give(osd: str) -> None:
        words = [word for kind, caps in {**rights, "osd": osd}.items() for word in (kind, caps)]
        ceph(world.host, "auth", "caps", "client.virtrbd", *words)

    give(", ".join((OSD_CAPS, *(f"profile rbd pool={pool}" for pool in pools))))
    yield
    give(OSD_CAPS)


def objects_of(world: LabWorld, pool: str) -> list[str]:
    found = world.host.ok("rados", "-p", pool, "ls", admin=True).split()
    return [name for name in found if name.startswith("rbd_data.")]


@pytest.fixture
def disk(tmp_path: Path) -> tuple[str, bytes]:
    """A qcow2 of 32 MiB, and what is in its second MiB."""
    file, data = tmp_path / "disk.qcow2", os.urandom(MIB)
    raw = tmp_path / "disk.raw"
    raw.write_bytes(bytes(MIB) + data + bytes(30 * MIB))
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", str(raw), str(file)], check=True)
    return str(file), data


def test_a_data_pool_without_rights_is_named_before_anything_is_made(
    cluster: LabWorld, disk: tuple[str, bytes]
) -> None:
    file, _ = disk
    for words in (("import", file, "vms/denied"), ("create", "vms/denied", "8M")):
        done = cluster.virtrbd("image", *words, "--data-pool", DATA_POOL)
        assert done.returncode == 77, done.stderr
        assert f"client.virtrbd may not write to its data pool {DATA_POOL}; add `profile rbd pool={DATA_POOL}`" in (
            done.stderr
        )
        assert rbd.RBD().list(cluster.vms) == []
        assert not any((cluster.state / "intents").iterdir())


def test_what_lost_its_rights_is_whole_after_a_refused_removal(
    cluster: LabWorld, disk: tuple[str, bytes], tmp_path: Path
) -> None:
    file, data = disk
    with caps_for(cluster, DATA_POOL):
        cluster.ok("image", "import", file, "vms/kept", "--data-pool", DATA_POOL)
    gone = cluster.virtrbd("image", "remove", "vms/kept", *GOES)
    assert gone.returncode == 77, gone.stderr
    assert f"may not write to its data pool {DATA_POOL}" in gone.stderr
    cluster.ok("image", "restore", "vms/kept")
    exported = tmp_path / "kept.raw"
    export = cluster.virtrbd("image", "export", "vms/kept", str(exported))
    assert export.returncode == 77
    assert len(export.stderr.splitlines()) <= 2, "each of its requests fails alike: once is enough"
    with caps_for(cluster, DATA_POOL):
        # Not by the connection of the test: its rights are those of when it was made.
        cluster.ok("image", "export", "vms/kept", str(exported))
        assert exported.read_bytes()[MIB : 2 * MIB] == data
        cluster.ok("image", "remove", "vms/kept", *GOES)
    assert objects_of(cluster, DATA_POOL) == []


def test_an_image_lives_in_an_erasure_coded_pool(cluster: LabWorld, disk: tuple[str, bytes], tmp_path: Path) -> None:
    file, data = disk
    exported = tmp_path / "exported.raw"
    with caps_for(cluster, DATA_POOL):
        cluster.ok("image", "import", "--as-base", "--verify", file, "vms/base@v1", "--data-pool", DATA_POOL)
        assert len(objects_of(cluster, DATA_POOL)) == len(data) // MIB
        assert cluster.image("base")["data_pool"] == DATA_POOL
        [usage] = cluster.document("image", "usage", "vms")["images"]
        assert usage["name"] == "vms/base"
        assert usage["total_used_bytes"] == 4 * MIB, "one object, of the snapshot"
        cluster.ok("image", "clone", "vms/base@v1", "vms/clone")
        cluster.ok("image", "resize", "vms/clone", "64M")
        cluster.ok("image", "flatten", "vms/clone")
        cluster.ok("image", "copy", "vms/clone", "vms/copy", "--data-pool", DATA_POOL)
        cluster.ok("image", "export", "--verify", "vms/copy", str(exported))
        assert exported.read_bytes() == bytes(MIB) + data + bytes(62 * MIB)
        for image in ("copy", "clone", "base"):
            cluster.ok("image", "remove", f"vms/{image}", *GOES)
    assert objects_of(cluster, DATA_POOL) == []
    assert rbd.RBD().list(cluster.vms) == []


def test_a_cluster_without_space_is_named_and_nothing_is_left(cluster: LabWorld, disk: tuple[str, bytes]) -> None:
    file, _ = disk
    host = cluster.host
    cluster.ok("image", "create", "vms/here", "8M")
    with rbd.Image(cluster.vms, "here") as image:
        image.write(os.urandom(4 * MIB), 0)
    with ExitStack() as ends:
        for kind in ("nearfull", "backfillfull", "full"):
            before = {"nearfull": "0.85", "backfillfull": "0.9", "full": "0.95"}[kind]
            ends.callback(ceph, host, "osd", f"set-{kind}-ratio", before)
            ceph(host, "osd", f"set-{kind}-ratio", "0.00001")
        eventually("the cluster is full", lambda: "full" in flags(host, "vms"), within_s=40)
        for words in (("import", file, "vms/more"), ("create", "vms/more", "8M"), ("snapshot", "create", "vms/here@s")):
            done = cluster.virtrbd("image", *words)
            assert done.returncode == 5, done.stderr
            assert "pool vms is full (the cluster has no space left); free space in it" in done.stderr
        assert rbd.RBD().list(cluster.vms) == ["here"]
        cluster.ok("image", "remove", "vms/here", *GOES)
        assert rbd.RBD().list(cluster.vms) == []
    eventually("it has space again", lambda: "full" not in flags(host, "vms"), within_s=40)


def flags(host: LabHost, pool: str) -> list[str]:
    pools = json.loads(ceph(host, "osd", "pool", "ls", "detail", "--format", "json"))
    [found] = [each["flags_names"].split(",") for each in pools if each["pool_name"] == pool]
    return list(found)


def test_clones_are_v2_where_the_cluster_asks_that_of_its_clients(cluster: LabWorld) -> None:
    cluster.ok("image", "create", "vms/golden", "8M")
    cluster.ok("image", "snapshot", "create", "vms/golden@v1")
    early = cluster.virtrbd("image", "clone", "vms/golden@v1", "vms/early")
    assert early.returncode == 5
    assert "snapshot protect vms/golden@v1" in early.stderr
    ceph(cluster.host, "osd", "set-require-min-compat-client", "mimic")
    cluster.ok("image", "clone", "vms/golden@v1", "vms/young")
    assert cluster.image("young")["parent"] == "vms/golden@v1"
    assert cluster.image("young")["clone_format"] == 2
    ceph(cluster.host, "osd", "set-require-min-compat-client", "luminous")
    for image in ("young", "golden"):
        cluster.ok("image", "remove", f"vms/{image}", *GOES)


def test_a_mirror_and_its_snapshots_keep_an_image(cluster: LabWorld) -> None:
    host = cluster.host
    cluster.ok("image", "create", "vms/mirrored", "8M")
    host.ok("rbd", "mirror", "pool", "enable", "vms", "image", admin=True)
    host.ok("rbd", "mirror", "image", "enable", "vms/mirrored", "snapshot", admin=True)
    shown = cluster.document("image", "snapshot", "list", "vms/mirrored")["snapshots"]
    assert [each["kind"] for each in shown] == ["mirror"]
    kept = cluster.document("image", "remove", "vms/mirrored", "--clear")
    assert (kept["done"], kept["changed"]) == ([], False)
    assert {each["way_out"] for each in kept["blockers"]} == {"rbd mirror image disable vms/mirrored"}
    assert cluster.virtrbd("image", "remove", "vms/mirrored", *GOES).returncode == 5
    cluster.ok("image", "snapshot", "create", "vms/mirrored@v1")
    host.ok("rbd", "mirror", "image", "demote", "vms/mirrored", admin=True)
    snapshot = f"vms/mirrored@{shown[0]['name']}"
    for words, said in (
        (("resize", "vms/mirrored", "16M"), "it is not primary"),
        (("snapshot", "create", "vms/mirrored@v2"), "it is not primary"),
        (("snapshot", "protect", "vms/mirrored@v1"), "it is not primary"),
        (("snapshot", "remove", "vms/mirrored@v1"), "it is not primary"),
        (("snapshot", "remove", snapshot), "to end it: rbd mirror image disable vms/mirrored"),
    ):
        done = cluster.virtrbd("image", *words)
        assert (done.returncode, said in done.stdout + done.stderr) == (5, True), done
    host.ok("rbd", "mirror", "image", "promote", "vms/mirrored", admin=True)
    cluster.ok("image", "snapshot", "remove", "vms/mirrored@v1")
    host.ok("rbd", "mirror", "image", "disable", "vms/mirrored", admin=True)
    host.ok("rbd", "mirror", "pool", "disable", "vms", admin=True)
    cluster.ok("image", "remove", "vms/mirrored", *GOES)
    assert rbd.RBD().list(cluster.vms) == []
