"""`image tree` on the lab: clones v1 and v2, namespaces, the trash, and pools and images that do not answer."""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import rados
import rbd
from support.lab import LabHost
from support.operators import Operator
from support.waiting import eventually
from support.worlds import MIB, LabWorld, with_clones_v2

from virtrbd.ceph.cluster import Cluster
from virtrbd.ceph.families import read_families
from virtrbd.ceph.usage import read_usages
from virtrbd.specs.settings import load_settings

OBJECT = 4 * MIB


def write(world: LabWorld, name: str, *objects: int) -> None:
    with rbd.Image(world.vms, name) as image:
        for number in objects:
            image.write(b"x" * 4096, number * OBJECT)


def purge(world: LabWorld) -> None:
    for entry in rbd.RBD().trash_list(world.vms):
        rbd.RBD().trash_restore(world.vms, entry["id"], entry["name"])
    for _ in range(4):
        # Clones go before their parents.
        for name in rbd.RBD().list(world.vms):
            with suppress(rbd.ImageBusy, rbd.ImageHasSnapshots):
                with rbd.Image(world.vms, name) as image:
                    found = list(image.list_snaps())
                    for snapshot in (each for each in found if each["namespace"] == rbd.RBD_SNAP_NAMESPACE_TYPE_USER):
                        with suppress(rbd.InvalidArgument):
                            image.unprotect_snap(snapshot["name"])
                        image.remove_snap(snapshot["name"])
                rbd.RBD().remove(world.vms, name)


@pytest.fixture
def family(roomed: LabWorld) -> Iterator[LabWorld]:
    """base@v1 with a clone v1, web, and a clone v2, db; web@day is in the trash, kept by web2, and so is `old`."""
    world, ours = with_clones_v2(roomed), roomed.pool
    world.ok("image", "create", f"{ours}/base", "40M")
    write(world, "base", 0, 1, 2)
    world.ok("image", "snapshot", "create", f"{ours}/base@v1")
    world.ok("image", "snapshot", "protect", f"{ours}/base@v1")
    write(world, "base", 2, 3)
    roomed.ok("image", "clone", f"{ours}/base@v1", f"{ours}/web")
    world.ok("image", "clone", f"{ours}/base@v1", f"{ours}/db", f"{ours}/old")
    write(world, "web", 0, 5)
    world.ok("image", "snapshot", "create", f"{ours}/web@day")
    world.ok("image", "clone", f"{ours}/web@day", f"{ours}/web2")
    write(world, "web", 5, 6, 7)
    with rbd.Image(world.vms, "web") as image:
        image.remove_snap("day")
    world.ok("image", "remove", f"{ours}/old")
    yield world
    purge(roomed)


def nodes(images: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for image in images:
        yield image
        for snapshot in image["snapshots"]:
            yield from nodes(snapshot["clones"])


def test_the_tree_has_clones_of_both_formats_and_the_trash(family: LabWorld) -> None:
    ours = family.pool
    document = family.document("image", "tree", ours)
    [base] = document["images"]
    assert (base["name"], base["depth"], base["used_bytes"]) == (f"{ours}/base", 0, 2 * OBJECT)
    [v1] = base["snapshots"]
    assert (v1["name"], v1["protected"], v1["used_bytes"], v1["clones_elsewhere"]) == ("v1", True, 3 * OBJECT, 0)
    db, old, web = v1["clones"]
    assert [each["name"] for each in (db, old, web)] == [f"{ours}/db", f"{ours}/old", f"{ours}/web"]
    assert (old["in_trash"], old["domains"], web["used_bytes"]) == (True, [], 3 * OBJECT)
    [day] = web["snapshots"]
    assert (day["name"], day["kind"], day["used_bytes"]) == ("day", "trash", 2 * OBJECT)
    assert [each["name"] for each in day["clones"]] == [f"{ours}/web2"]
    [flatten] = document["flatten"]
    assert (flatten["image"], flatten["reason"]) == (f"{ours}/web2", "the last clone of a snapshot in the trash")
    assert (flatten["copies_bytes"], flatten["frees_bytes"]) == (5 * OBJECT, 2 * OBJECT)
    family.ok(*flatten["command"].split()[1:])
    assert family.document("image", "tree", ours)["flatten"] == []
    with rbd.Image(family.vms, "web") as image:
        assert list(image.list_snaps()) == [], "it freed what it named"


def test_what_each_adds_is_what_librbd_counts(family: LabWorld) -> None:
    with Cluster.connect(load_settings(family.env["VIRTRBD_CONFIG"])) as cluster:
        images = read_families(cluster, [("vms", family.vms.get_namespace())]).images.values()
        usages = read_usages(cluster, [image.ref for image in images if image.expires_at is None])
        for image in images:
            if image.expires_at is None and image.ref.name != "web":
                usage = usages[image.ref]
                assert (image.used_bytes, image.total_bytes) == (usage.used_bytes, usage.total_bytes)  # type: ignore[union-attr]
    assert len(usages) == 4


def test_a_domain_is_named_beside_its_image(host: LabHost, world: LabWorld, name: str) -> None:
    host.ok("virtrbd", "define", host.spec(name, "disks:\n  - size: 8M\n"))
    document = world.document("image", "tree", "vms")
    [mine] = [each for each in nodes(document["images"]) if each["name"] == f"vms/{name}.vda"]
    assert (mine["domains"], mine["state"]) == ([name], "ready")


def test_what_is_not_a_pool_and_what_is_missing_is_named(world: LabWorld) -> None:
    done = world.virtrbd("image", "tree", "vms/no-namespace", "no-pool")
    assert done.returncode == 78
    assert "vms/no-namespace: cannot be read: namespace vms/no-namespace does not exist" in done.stdout
    assert "no-pool: cannot be read: pool no-pool does not exist" in done.stdout
    assert world.virtrbd("image", "tree", "vms/a@b").returncode == 64


class Pool(NamedTuple):
    """A pool of the test's own, which virtrbd's user may not read, and the pool that has a clone of it."""

    name: str
    own: rados.Ioctx
    vms: rados.Ioctx


@pytest.fixture
def pool(lab: Path, name: str) -> Iterator[Pool]:
    """The pool, with base@v1 in it and a clone of that in vms, named as the pool."""
    with rados.Rados(conffile=f"{lab}/ceph/admin.conf", rados_id="admin") as connection:
        connection.create_pool(name)
        with connection.open_ioctx(name) as own, connection.open_ioctx("vms") as vms:
            rbd.RBD().pool_init(own, force=True)
            rbd.RBD().create(own, "base", 8 * MIB, old_format=False)
            with rbd.Image(own, "base") as image:
                image.create_snap("v1")
                image.protect_snap("v1")
            rbd.RBD().clone(own, "base", "v1", vms, name)
            yield Pool(name=name, own=own, vms=vms)
            rbd.RBD().remove(vms, name)
        connection.delete_pool(name)


def parent_and_clones(document: dict[str, Any], pool: str) -> tuple[str, list[str]]:
    """Return why the parent in that pool cannot be read, and its clones."""
    [parent] = [each for each in document["images"] if each["name"].startswith(f"{pool}/(id ")]
    return parent["error"], [clone["name"] for each in parent["snapshots"] for clone in each["clones"]]


def test_a_parent_that_may_not_be_read_is_shown_with_the_reason(world: LabWorld, pool: Pool) -> None:
    why, clones = parent_and_clones(world.document("image", "tree", "vms"), pool.name)
    assert "client.virtrbd is not allowed" in why
    assert clones == [f"vms/{pool.name}"]
    assert world.virtrbd("image", "tree", "vms").returncode == 0, "it is not in a pool that was asked for"
    denied = world.virtrbd("image", "tree", pool.name, "vms")
    assert denied.returncode == 77, denied.stderr
    assert f"{pool.name}: cannot be read: " in denied.stdout
    assert f"vms/{pool.name}" in denied.stdout


@pytest.mark.alone
@pytest.mark.timeout(180)
def test_a_pool_that_does_not_answer_holds_up_no_other(
    lab: Path, host: LabHost, operator: Operator, pool: Pool
) -> None:
    def set_pool(key: str, value: str) -> None:
        host.ok("ceph", "osd", "pool", "set", pool.name, key, value, "--yes-i-really-mean-it", admin=True)

    impatient = {"rados_osd_op_timeout": "1"}
    with (
        rados.Rados(conffile=f"{lab}/ceph/admin.conf", rados_id="admin", conf=impatient) as connection,
        connection.open_ioctx(pool.name) as ioctx,
    ):

        def answers() -> bool:
            try:
                ioctx.stat("rbd_directory")
            except rados.TimedOut:
                return False
            return True

        all_pools = operator.with_settings("all", lambda text: text.replace("user: virtrbd", "user: admin").replace(
            next(line for line in text.splitlines() if "conf:" in line), f"  conf: {lab}/ceph/admin.conf"
        ))  # fmt: skip
        # One OSD cannot hold two copies: the pool's placement groups take no more requests.
        set_pool("size", "2")
        set_pool("min_size", "2")
        try:
            eventually("the pool does not answer", lambda: not answers(), 60)
            done = all_pools.run("image", "tree", "vms", "--output", "json")
            why, clones = parent_and_clones(json.loads(done.out), pool.name)
            assert "no answer" in why
            assert clones == [f"vms/{pool.name}"]
            asked = all_pools.run("image", "tree", pool.name, "vms")
            assert asked.code == 69, asked
            assert f"{pool.name}: cannot be read: " in asked.out
            assert f"vms/{pool.name}" in asked.out
        finally:
            set_pool("min_size", "1")
            set_pool("size", "1")
            eventually("the pool answers", answers, 60)
