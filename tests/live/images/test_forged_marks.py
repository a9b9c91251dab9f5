"""Marks that a client with write access to the pool writes: what loses data needs a trace on this host."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import rados
import rbd
from support.lab import LabHost


@pytest.fixture
def pool(lab: Path, name: str) -> Iterator[rados.Ioctx]:
    with (
        rados.Rados(conffile=f"{lab}/ceph/admin.conf", rados_id="admin") as connection,
        connection.open_ioctx("vms") as ioctx,
    ):
        yield ioctx
        # An image with snapshots is not removed.
        with suppress(rbd.ImageNotFound), rbd.Image(ioctx, f"{name}.vda") as image:
            for snapshot in list(image.list_snaps()):
                image.remove_snap(snapshot["name"])


def set_metadata(pool: rados.Ioctx, name: str, key: str, **words: str) -> None:
    with rbd.Image(pool, name) as image:
        image.metadata_set(key, json.dumps({**words, "image": image.id()}))


def metadata(pool: rados.Ioctx, name: str) -> dict[str, str]:
    with rbd.Image(pool, name, read_only=True) as image:
        return dict(image.metadata_list())


def test_no_mark_alone_rolls_an_image_back(host: LabHost, name: str, pool: rados.Ioctx) -> None:
    spec = host.spec(name, "disks:\n  - size: 16M\n")
    host.ok("virtrbd", "define", spec)
    with rbd.Image(pool, f"{name}.vda") as image:
        image.create_snap("s")
        image.write(b"since", 0)
    set_metadata(pool, f"{name}.vda", "virtrbd.state", state="rolling back to s")
    done = host.virtrbd("define", spec)
    assert done.returncode == 4, done.stderr
    assert "this host did not begin" in done.stderr
    assert "needs --allow loses-data" in done.stderr
    with rbd.Image(pool, f"{name}.vda", read_only=True) as image:
        assert image.read(0, 5) == b"since"
    assert host.virtrbd("define", spec, "--allow", "loses-data").returncode == 0
    assert "virtrbd.state" not in metadata(pool, f"{name}.vda")
    assert host.virtrbd("plan", spec).returncode == 0


def test_a_plain_state_of_earlier_versions_is_reported_and_not_acted_on(
    host: LabHost, name: str, pool: rados.Ioctx
) -> None:
    spec = host.spec(name, "disks:\n  - size: 16M\n")
    host.ok("virtrbd", "define", spec)
    with rbd.Image(pool, f"{name}.vda") as image:
        image.create_snap("s")
        image.metadata_set("virtrbd.state", "rolling back to s")
    assert host.virtrbd("define", spec).returncode == 4
    host.ok("virtrbd", "image", "snapshot", "rollback", f"vms/{name}.vda@s", "--allow", "loses-data")
    assert host.virtrbd("plan", spec).returncode == 0


def test_a_mark_forged_on_an_image_that_was_made_before_is_said(host: LabHost, name: str, pool: rados.Ioctx) -> None:
    spec = host.spec(name, "disks:\n  - size: 16M\n")
    host.ok("virtrbd", "define", spec)
    owner = json.loads(metadata(pool, f"{name}.vda")["virtrbd.owner"])
    host.ok("virsh", "undefine", name)
    rbd.RBD().remove(pool, f"{name}.vda")
    rbd.RBD().create(pool, f"{name}.vda", 16 * 1024**2, old_format=False)
    set_metadata(pool, f"{name}.vda", "virtrbd.owner", domain=owner["domain"], host=owner["host"])
    done = host.virtrbd("define", spec)
    assert done.returncode == 4, done.stderr
    assert "this host has no record of making it" in done.stderr
    assert name not in host.ok("virsh", "list", "--all", "--name").split()
    host.ok("virtrbd", "define", spec, "--allow", "takes-over")
    assert host.virtrbd("plan", spec).returncode == 0


@pytest.mark.parametrize("by", ["virsh", "virtrbd"])
def test_a_domain_that_was_undefined_is_defined_again_with_its_images(host: LabHost, name: str, by: str) -> None:
    spec = host.spec(name, "disks:\n  - size: 16M\n")
    host.ok("virtrbd", "define", spec)
    host.ok(by, "undefine", name)
    host.ok("virtrbd", "define", spec)
    assert host.virtrbd("plan", spec).returncode == 0


@pytest.mark.parametrize(
    ("key", "value"), [("size", b"\0"), ("snapshot_0000000000000009", b"\xff\xff"), ("features", b"")]
)
def test_a_broken_image_fails_its_own_domain_alone(
    host: LabHost, name: str, pool: rados.Ioctx, key: str, value: bytes
) -> None:
    specs = [host.spec(f"{name}{which}", "disks:\n  - size: 16M\n") for which in ("a", "b")]
    host.ok("virtrbd", "define", specs[0])
    with rbd.Image(pool, f"{name}a.vda", read_only=True) as image:
        header = f"rbd_header.{image.id()}"
    with rados.ReadOpCtx() as operation:
        values, _ = pool.get_omap_vals_by_keys(operation, (key,))
        pool.operate_read_op(operation, header)
        before = dict(values).get(key)
    with rados.WriteOpCtx() as operation:
        pool.set_omap(operation, (key,), (value,))
        pool.operate_write_op(operation, header)
    try:
        planned = host.virtrbd("plan", *specs, "--output", "json")
        done = host.virtrbd("define", *specs)
    finally:
        with rados.WriteOpCtx() as operation:
            if before is None:
                pool.remove_omap_keys(operation, (key,))
            else:
                pool.set_omap(operation, (key,), (before,))
            pool.operate_write_op(operation, header)
    assert planned.returncode == 5, planned.stderr
    domains = {domain["name"]: domain for domain in json.loads(planned.stdout)["domains"]}
    assert domains[f"{name}a"]["failures"][0]["exit_code"] == 5
    assert domains[f"{name}b"]["actions"]
    assert done.returncode == 5, done.stderr
    assert f"{name}b" in host.ok("virsh", "list", "--all", "--name").split()
    assert host.virtrbd("plan", *specs).returncode == 0
