"""Ctrl-C under what takes long: the run ends with 130, and the next one finishes the work."""

import os
import signal
import subprocess
import sys

import pytest
import rados
import rbd
from support.waiting import eventually
from support.worlds import MIB, LabWorld

# Many small objects: what takes long is their number.
ORDER, SIZE = 12, 12 * MIB
INTERRUPTED = "virtrbd: interrupted; run again to finish what was begun\n"


def filled(image: str, ioctx: rados.Ioctx) -> bytes:
    """Make an image that is full of data, and return it."""
    rbd.RBD().create(ioctx, image, SIZE, ORDER, old_format=False)
    content = os.urandom(SIZE)
    with rbd.Image(ioctx, image) as opened:
        opened.write(content, 0)
    return content


def objects(world: LabWorld, image_id: str) -> int:
    """How many objects hold data of the image."""
    return sum(each.key.startswith(f"rbd_data.{image_id}.") for each in world.vms.list_objects())


def begin(world: LabWorld, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "virtrbd", "image", *words], env=world.env, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def interrupt(run: subprocess.Popen[str]) -> None:
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=20)
    assert (run.returncode, out) == (130, ""), (out, err)
    assert err.endswith(INTERRUPTED), err


@pytest.mark.timeout(120)
def test_an_ended_flatten_leaves_the_clone_whole_and_is_finished(world: LabWorld, name: str) -> None:
    base, clone = f"vms/{name}.base", f"vms/{name}.clone"
    content = filled(f"{name}.base", world.vms)
    world.ok("image", "snapshot", "create", "--protect", f"{base}@s1")
    world.ok("image", "clone", f"{base}@s1", clone)
    image_id = world.image(f"{name}.clone")["id"]
    run = begin(world, "flatten", clone)
    eventually("it is partly flattened", lambda: objects(world, image_id))
    interrupt(run)
    assert world.content(f"{name}.clone") == content
    assert world.image(f"{name}.clone")["parents"] == [f"{base}@s1"], "it was ended before its end"
    assert world.ok("image", "flatten", clone) == f"{clone}: flattened\n"
    found = world.image(f"{name}.clone")
    assert (found["parents"], found["flags"]) == ([], []), "its object map is to be trusted again"
    assert world.content(f"{name}.clone") == content, "no object that was on its way is taken for one that is there"
    world.ok("image", "remove", "--now", "--clear", "--allow", "loses-data", base)


@pytest.mark.timeout(120)
def test_an_ended_rollback_is_known_as_half_and_is_finished(world: LabWorld, name: str) -> None:
    image = f"vms/{name}.a"
    old = filled(f"{name}.a", world.vms)
    with rbd.Image(world.vms, f"{name}.a") as opened:
        opened.create_snap("s1")
        opened.write(bytes(SIZE - 1) + b"x", 0)
    words = ("snapshot", "rollback", "--allow", "loses-data", f"{image}@s1")

    def is_begun() -> bool:
        with rbd.Image(world.vms, f"{name}.a", read_only=True) as opened:
            return "virtrbd.state" in dict(opened.metadata_list())

    run = begin(world, *words)
    eventually("the rollback has begun", is_begun)
    interrupt(run)
    assert world.image(f"{name}.a")["state"] == "rolling back to s1"
    world.ok("image", *words)
    assert world.image(f"{name}.a")["state"] == "ready"
    assert world.content(f"{name}.a") == old
    world.ok("image", "remove", "--now", "--clear", "--allow", "loses-data", image)


@pytest.mark.timeout(120)
def test_an_ended_purge_is_finished(world: LabWorld, room: str) -> None:
    world.vms.set_namespace(room.removeprefix("vms/"))
    filled("a", world.vms)
    with rbd.Image(world.vms, "a") as opened:
        image_id = opened.id()
    rbd.RBD().trash_move(world.vms, "a", 0)
    whole = objects(world, image_id)
    run = begin(world, "trash", "purge", room)
    eventually("some of it is gone", lambda: objects(world, image_id) < whole)
    interrupt(run)
    assert objects(world, image_id) > 0, "it was ended before its end"
    assert world.ok("image", "trash", "purge", room) == f"{room}/a: removed for good\n"
    assert (objects(world, image_id), list(rbd.RBD().trash_list(world.vms))) == (0, [])
    world.vms.set_namespace("")
