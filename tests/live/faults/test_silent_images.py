"""An image whose header makes librbd wait or count for ever is no answer of that image, and of no other."""

import json
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import rados
import rbd
from support.lab import LabHost
from support.operators import CEPH_S, Operator

_MIGRATING = struct.pack("<Q", rbd.RBD_FEATURE_LAYERING | rbd.RBD_FEATURE_MIGRATING)
_PLAIN = struct.pack("<Q", rbd.RBD_FEATURE_LAYERING)
# What to write under a key of the header, and what heals it.
_SILENCING = {"features": (_MIGRATING, _PLAIN), "size": (struct.pack("<Q", 2**63), struct.pack("<Q", 8 * 1024**2))}


@pytest.fixture
def vms(lab: Path) -> Iterator[rados.Ioctx]:
    with (
        rados.Rados(conffile=f"{lab}/ceph/admin.conf", rados_id="admin") as connection,
        connection.open_ioctx("vms") as ioctx,
    ):
        yield ioctx


def write_key(vms: rados.Ioctx, image: str, key: str, value: bytes) -> None:
    image_id = vms.read(f"rbd_id.{image}")[4:].decode()
    with rados.WriteOpCtx() as operation:
        vms.set_omap(operation, (key,), (value,))
        vms.operate_write_op(operation, f"rbd_header.{image_id}")


@pytest.fixture
def silence(vms: rados.Ioctx, name: str) -> Iterator[Callable[[str], None]]:  # noqa: ARG001
    """What makes an image silent, with migration announced in its header and nothing said of it."""
    silenced = []

    def make(image: str) -> None:
        silenced.append(image)
        write_key(vms, image, "features", _MIGRATING)

    yield make
    for image in silenced:
        # The fixture of the name opens them.
        with suppress(rados.Error):
            write_key(vms, image, "features", _PLAIN)


@pytest.mark.timeout(180)
def test_an_image_that_never_answers_fails_its_domain_alone(
    host: LabHost, name: str, operator: Operator, vms: rados.Ioctx, silence: Callable[[str], None]
) -> None:
    odd, plain = f"{name}odd", f"{name}plain"
    specs = [host.spec(each, "disks:\n  - size: 8M\n") for each in (odd, plain)]
    host.ok("virtrbd", "define", specs[0])
    silence(f"{odd}.vda")
    why = f"image vms/{odd}.vda did not answer within {CEPH_S} s while the cluster does"
    plan = operator.run("plan", *specs)
    assert plan.code == 69, plan
    assert why in plan.out + plan.err
    assert f"create image vms/{plain}.vda" in plan.out, plan
    defined = operator.run("define", *specs)
    assert defined.code == 69, defined
    assert why in defined.err
    assert plain in host.ok("virsh", "list", "--all", "--name").split()
    inspected = operator.run("inspect", odd)
    assert (inspected.code, why in inspected.out) == (0, True), inspected
    kept = operator.run("undefine", "--trash-images", odd)
    assert kept.code == 69, kept
    assert f"reading image vms/{odd}.vda: no answer" in kept.err
    assert odd in host.ok("virsh", "list", "--all", "--name").split()
    gone = operator.run("undefine", odd)
    assert gone.code == 0, gone
    assert f"{odd}: left image vms/{odd}.vda as it is: {why}" in gone.out
    assert odd not in host.ok("virsh", "list", "--all", "--name").split()
    assert f"{odd}.vda" in rbd.RBD().list(vms)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("key", _SILENCING)
def test_an_image_that_never_answers_is_listed_as_that_and_so_are_all_others(
    host: LabHost, name: str, operator: Operator, vms: rados.Ioctx, key: str
) -> None:
    odd, plain = f"{name}.odd", f"{name}.plain"
    for image in (odd, plain):
        host.ok("rbd", "create", "--size", "8M", f"vms/{image}")
    value, before = _SILENCING[key]
    write_key(vms, odd, key, value)
    try:
        for verb in ("usage", "unreferenced"):
            done = operator.run("image", verb, "vms", "--output", "json")
            assert done.code == 69, done
            found = json.loads(done.out)
            assert f"vms/{plain}" in {each["name"] for each in found["images"]}
            [unread] = [each for each in found["unread"] if each["name"] == f"vms/{odd}"]
            assert unread["exit_code"] == 69
            assert f"did not answer within {CEPH_S} s while the cluster does" in unread["error"]
            look = re.search("`(rados .*)`", unread["error"])
            assert look
            assert "size" in host.ok(*look[1].split(), admin=True), "the way out answers"
    finally:
        write_key(vms, odd, key, before)


@pytest.mark.timeout(120)
def test_the_tree_shows_an_image_that_never_answers_and_all_others(
    host: LabHost, name: str, operator: Operator, silence: Callable[[str], None]
) -> None:
    odd, plain = f"{name}.odd", f"{name}.plain"
    for image in (odd, plain):
        host.ok("rbd", "create", "--size", "8M", f"vms/{image}")
    silence(odd)
    done = operator.run("image", "tree", "vms", "--output", "json")
    assert done.code == 69, done
    found = {each["name"]: each["error"] for each in json.loads(done.out)["images"]}
    assert found[f"vms/{plain}"] is None
    assert f"did not answer within {CEPH_S} s while the cluster does" in found[f"vms/{odd}"]


@pytest.mark.parametrize("size", [0, 2**63, 2**64 - 1])
def test_the_tree_takes_any_size_in_a_header(host: LabHost, name: str, vms: rados.Ioctx, size: int) -> None:
    host.ok("rbd", "create", "--size", "8M", f"vms/{name}")
    write_key(vms, name, "size", struct.pack("<Q", size))
    try:
        document = json.loads(host.ok("virtrbd", "image", "tree", "vms", "--output", "json"))
        [image] = [each for each in document["images"] if each["name"] == f"vms/{name}"]
        assert (image["size_bytes"], image["error"]) == (size, None)
        assert not image["used_bytes"]
    finally:
        write_key(vms, name, "size", struct.pack("<Q", 8 * 1024**2))
