"""The four commands of Ceph's QEMU page, done by qemu-img itself beside virtrbd's: both come to the same."""

import json
import os
import subprocess

import pytest
import rbd
from support.sources import as_disk
from support.worlds import MIB, LabWorld


@pytest.fixture
def pair(name: str) -> tuple[str, str]:
    """The names of an image that qemu-img makes, and of one that virtrbd makes."""
    return f"{name}.qemu", f"{name}.virtrbd"


def address(world: LabWorld, image: str) -> str:
    """The image as Ceph's page writes it."""
    return f"rbd:vms/{image}:id=virtrbd:conf={world.env['CEPH_CONF']}"


def qemu_img(world: LabWorld, *words: str) -> str:
    done = subprocess.run(["qemu-img", *words], env=world.env, capture_output=True, text=True, check=True, timeout=50)
    return done.stdout


def shape(world: LabWorld, image: str) -> tuple[object, ...]:
    """All that makes an image what it is, but its name and its metadata."""
    with rbd.Image(world.vms, image, read_only=True) as opened:
        return (
            opened.size(), opened.features(), opened.stat()["order"], opened.stripe_unit(), opened.stripe_count(),
            opened.flags(), opened.overlap(),
        )  # fmt: skip


def allocated(world: LabWorld, image: str) -> list[int]:
    """Where the objects of 4 MiB are that hold data."""
    found: list[int] = []

    def note(at: int, length: int, exists: bool) -> None:
        # Neighbours come as one from some images, and one by one from others.
        found.extend(range(at, at + length, 4 * MIB) if exists else ())

    with rbd.Image(world.vms, image, read_only=True) as opened:
        opened.diff_iterate(0, opened.size(), None, note, whole_object=True)
    return found


def test_create_and_resize(world: LabWorld, name: str, pair: tuple[str, str]) -> None:
    theirs, ours = pair
    qemu_img(world, "create", "-q", "-f", "raw", address(world, theirs), "32M")
    world.ok("image", "create", f"vms/{ours}", "32M")
    assert shape(world, theirs) == shape(world, ours)
    assert shape(world, ours)[0] == 32 * MIB
    qemu_img(world, "resize", "-q", "-f", "raw", address(world, theirs), "48M")
    world.ok("image", "resize", f"vms/{ours}", "48M")
    assert shape(world, theirs) == shape(world, ours)
    assert (shape(world, ours)[0], world.content(ours)) == (48 * MIB, world.content(theirs))
    # What qemu-img shrinks when it is told that this is meant, virtrbd never does.
    qemu_img(world, "resize", "-q", "-f", "raw", "--shrink", address(world, theirs), "16M")
    assert world.virtrbd("image", "resize", f"vms/{ours}", "16M").returncode == 5
    assert (shape(world, theirs)[0], shape(world, ours)[0]) == (16 * MIB, 48 * MIB)
    world.forget(name)


def test_object_size_is_qemu_img_s_cluster_size(world: LabWorld, name: str, pair: tuple[str, str]) -> None:
    theirs, ours = pair
    qemu_img(world, "create", "-q", "-f", "raw", "-o", "cluster_size=1M", address(world, theirs), "32M")
    world.ok("image", "create", f"vms/{ours}", "32M", "--object-size", "1M")
    assert shape(world, theirs) == shape(world, ours)
    world.forget(name)


def test_info(world: LabWorld, name: str, pair: tuple[str, str]) -> None:
    _, image = pair
    world.ok("image", "create", f"vms/{image}", "32M", "--object-size", "1M")
    with rbd.Image(world.vms, image) as opened:
        opened.write(b"x" * 2 * MIB, MIB)
    told = json.loads(qemu_img(world, "info", "--output", "json", address(world, image)))
    found = world.image(image)
    assert (found["size_bytes"], found["object_bytes"]) == (told["virtual-size"], told["cluster-size"])
    rbd_info = json.loads(world.host.ok("rbd", "info", "--format", "json", f"vms/{image}"))
    assert (found["id"], found["data_prefix"]) == (rbd_info["id"], rbd_info["block_name_prefix"])
    assert found["features"] == rbd_info["features"]
    assert (found["size_bytes"], found["object_bytes"]) == (rbd_info["size"], rbd_info["object_size"])
    [du] = json.loads(world.host.ok("rbd", "du", "--format", "json", f"vms/{image}"))["images"]
    assert found["used_bytes"] == du["used_size"] == 2 * MIB
    world.forget(name)


@pytest.mark.parametrize("form", ["raw", "qcow2"])
def test_convert_both_ways(world: LabWorld, name: str, pair: tuple[str, str], form: str) -> None:
    """Data, a hole, data, a hole at the end: both must leave the holes unwritten."""
    theirs, ours = pair
    raw, file = world.host.folder / "disk.raw", world.host.folder / f"disk.{form}"
    with raw.open("wb") as stream:
        for at in (0, 12 * MIB + 4096):
            stream.seek(at)
            stream.write(as_disk(os.urandom(4 * MIB)))
        stream.truncate(40 * MIB)
    if form != "raw":
        qemu_img(world, "convert", "-f", "raw", "-O", form, str(raw), str(file))
    qemu_img(world, "convert", "-f", form, "-O", "raw", str(file), address(world, theirs))
    world.ok("image", "import", str(file), f"vms/{ours}")
    assert shape(world, theirs) == shape(world, ours)
    assert world.content(theirs) == world.content(ours) == raw.read_bytes()
    assert allocated(world, ours) == allocated(world, theirs) == [0, 12 * MIB, 16 * MIB]
    qemu_img(world, "convert", "-f", "raw", "-O", form, address(world, ours), str(world.host.folder / "theirs"))
    world.ok("image", "export", f"vms/{ours}", "ours", "--format", form)
    qemu_img(world, "compare", "-f", form, "-F", form, *(str(world.host.folder / who) for who in ("theirs", "ours")))
    for who in ("theirs", "ours"):
        told = json.loads(qemu_img(world, "info", "--output", "json", str(world.host.folder / who)))
        assert (told["format"], told["virtual-size"]) == (form, 40 * MIB)
    world.forget(name)
