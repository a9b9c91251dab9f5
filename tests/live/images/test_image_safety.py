"""No image is changed under whoever uses it, and what was cut off is finished: by the verb, or by `define`."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import rbd
from support.lab import LabHost
from support.operators import ENDS_WITHIN_S, operator_of
from support.worlds import MIB, WHEN, LabWorld

ROLLBACK = ("image", "snapshot", "rollback", "--allow", "loses-data")


def who_has(world: LabWorld, image: str) -> list[str]:
    """The clients that have the image open, as messages name them."""
    found = json.loads(world.host.ok("rbd", "status", "--format", "json", image))["watchers"]
    return [f"client.{each['client']} at {each['address'].split('/')[0]}" for each in found]


def with_snapshot(world: LabWorld, name: str, *, domain: bool) -> tuple[str, bytes]:
    """Make an image `NAME.vda`, of a domain or by hand, whose snapshot s1 holds something else; return both."""
    if domain:
        world.ok("define", world.host.spec(name, "disks:\n  - size: 16M\n"))
    else:
        world.ok("image", "create", f"vms/{name}.vda", "16M")
    with rbd.Image(world.vms, f"{name}.vda") as image:
        image.write(b"old" * MIB, 0)
        image.create_snap("s1")
        old = image.read(0, image.size())
        image.write(b"new" * MIB, 0)
    return f"vms/{name}.vda", old


def test_a_foreign_client_is_waited_for_then_named_and_nothing_is_done(
    world: LabWorld, name: str, host: LabHost
) -> None:
    image, _ = with_snapshot(world, name, domain=False)
    hasty, content = operator_of(host), world.content(f"{name}.vda")
    with rbd.Image(world.vms, f"{name}.vda"):
        [who] = who_has(world, image)
        for words in (("image", "resize", image, "32M"), (*ROLLBACK, f"{image}@s1")):
            end = hasty.run(*words)
            assert (end.code, end.out) == (5, ""), end
            waiting, refused = end.err.splitlines()
            assert waiting.startswith(f"image {image}: it is open by {who}; stop that client; waiting up to 1 s")
            assert refused == f"image {image}: it is open by {who}; stop that client"
    assert world.content(f"{name}.vda") == content
    world.ok("image", "remove", "--now", "--clear", "--allow", "loses-data", image)


def test_a_guest_of_another_host_is_a_foreign_client(
    world: LabWorld, make_world: Callable[[str], LabWorld], name: str, host: LabHost
) -> None:
    other, image = make_world("kvm-2"), f"vms/{name}.vda"
    other.ok("define", "--start", other.host.spec(name, "disks:\n  - size: 16M\n"))
    [who] = who_has(world, image)
    for words in (("resize", image, "32M"), ("remove", image)):
        # A person may take over; that the guest runs stands all the same.
        end = operator_of(host).run("image", *words, "--allow", "takes-over")
        assert end.code == 5, end
        assert f"it is open by {who}; stop that client" in end.out + end.err, end
    assert other.image(f"{name}.vda")["size_bytes"] == 16 * MIB


def test_a_running_guest_is_told_of_its_new_size_and_qemu_says_so(world: LabWorld, name: str) -> None:
    image = f"vms/{name}.vda"
    world.ok("define", "--start", world.host.spec(name, "disks:\n  - size: 16M\n"))
    domain = world.libvirt.lookupByName(name)
    said = world.ok("image", "resize", image, "32M")
    assert said.splitlines() == [
        f"{image}: grown from 16 MiB to 32 MiB, and domain {name} sees the new size",
        f"{name}: raise the disk's size in its spec too, if it states one",
    ]
    assert domain.blockInfo("vda")[0] == 32 * MIB
    assert world.image(f"{name}.vda")["size_bytes"] == 32 * MIB
    # Shrinking is refused for the guest's sake too, though libvirt would do it.
    assert world.virtrbd("image", "resize", image, "16M").returncode == 5
    assert domain.blockInfo("vda")[0] == 32 * MIB
    # Who grows an image with rbd alone tells no guest; to say the size again does.
    world.host.ok("rbd", "resize", "--no-progress", "--size", "48M", image, admin=True)
    again = world.document("image", "resize", image, "48M")
    assert domain.blockInfo("vda")[0] == 48 * MIB
    assert again["size_bytes"] == 48 * MIB
    # All else is refused, and at once: it is no remains of a crash.
    world.ok("image", "snapshot", "create", f"{image}@s1")
    began_at = time.monotonic()
    for words in ((*ROLLBACK, f"{image}@s1"), ("image", "remove", image)):
        done = world.virtrbd(*words)
        assert done.returncode == 5, done
        assert f"domain {name} is running with it (disk vda); virtrbd shutdown {name}" in done.stdout + done.stderr, (
            done
        )
        assert "waiting" not in done.stderr
    assert time.monotonic() - began_at < ENDS_WITHIN_S
    domain.destroy()
    world.ok("undefine", name)
    world.ok("image", "remove", "--now", "--clear", "--allow", "loses-data", image)


def test_a_managed_save_counts_as_use(world: LabWorld, name: str) -> None:
    image, _ = with_snapshot(world, name, domain=True)
    world.ok("start", name)
    domain = world.libvirt.lookupByName(name)
    domain.managedSave()
    assert who_has(world, image) == []
    for words in (("image", "resize", image, "32M"), (*ROLLBACK, f"{image}@s1"), ("image", "remove", image)):
        done = world.virtrbd(*words, "--allow", "takes-over")
        assert done.returncode == 5, done
        assert f"domain {name} holds a managed save" in done.stdout + done.stderr, done
        assert f"drop it with virsh managedsave-remove {name}" in done.stdout + done.stderr, done
        assert "waiting" not in done.stderr, "it does not go by itself"
    domain.managedSaveRemove()
    world.ok("image", "resize", image, "32M")
    assert world.image(f"{name}.vda")["size_bytes"] == 32 * MIB
    world.ok("undefine", name)
    world.ok("image", "remove", "--now", "--clear", "--allow", "loses-data", image)


@pytest.mark.timeout(120)
def test_a_rollback_killed_at_any_step_is_finished_by_the_verb_or_by_define(world: LabWorld, name: str) -> None:
    steps = ["Image.metadata_set", "Image.rollback_to_snap", "Image.metadata_remove"]
    at = [(n, when, ends) for n in (1, 2, 3) for when in WHEN for ends in ("verb", "define")]

    def kill_and_finish(n: int, when: str, finisher: str) -> None:
        domain = f"{name}{n}{when}{finisher}"
        image, old = with_snapshot(world, domain, domain=finisher == "define")
        code, came = world.run_killed(n, when, *ROLLBACK, f"{image}@s1")
        assert (code, came) == (-signal.SIGKILL, steps[:n])
        is_marked = (n, when) not in ((1, "before"), (3, "after"))
        assert world.image(f"{domain}.vda")["state"] == ("rolling back to s1" if is_marked else "ready")
        if finisher == "define":
            if is_marked:
                refused = world.virtrbd("start", domain)
                assert refused.returncode == 5, refused
                assert f"not started: image {image} is not ready: rolling back to s1;" in refused.stderr
            said = world.ok("define", f"{domain}.yaml")
            finishing = f"{domain}: finish the rollback of image {image} to {image}@s1\n"
            assert said == (finishing if is_marked else f"{domain}: nothing to do\n")
        else:
            world.ok(*ROLLBACK, f"{image}@s1")
        assert world.image(f"{domain}.vda")["state"] == "ready"
        if is_marked or finisher == "verb":
            assert world.content(f"{domain}.vda") == old
        with rbd.Image(world.vms, f"{domain}.vda") as opened:
            opened.remove_snap("s1")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda each: kill_and_finish(*each), at))
    for n, when, finisher in at:
        world.forget(f"{name}{n}{when}{finisher}")


def test_no_snapshot_is_made_or_protected_while_another_run_rolls_back(world: LabWorld, name: str) -> None:
    image, old = with_snapshot(world, name, domain=False)
    command = [sys.executable, "-m", "virtrbd", *ROLLBACK, f"{image}@s1"]
    with rbd.Image(world.vms, f"{name}.vda"):
        run = subprocess.Popen(
            command, env=world.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert run.stderr
        assert "is open by" in run.stderr.readline(), "it waits for the client"
        for words in (("create", f"{image}@s2"), ("protect", f"{image}@s1")):
            refused = world.virtrbd("image", "snapshot", *words)
            assert refused.returncode == 75, refused
            holder = f"virtrbd image snapshot rollback (pid {run.pid})"
            assert refused.stderr == f"{image}: {holder} is at work on it; try again when it is done\n"
    out, err = run.communicate(timeout=40)
    assert run.returncode == 0, (out, err)
    found = world.image(f"{name}.vda")["snapshots"]
    assert [(each["name"], each["protected"]) for each in found] == [("s1", False)]
    assert world.content(f"{name}.vda") == old
    world.ok("image", "remove", "--now", "--clear", "--allow", "loses-data", image)


def test_a_half_rollback_is_used_by_nothing(world: LabWorld, name: str) -> None:
    image, _ = with_snapshot(world, name, domain=False)
    with rbd.Image(world.vms, f"{name}.vda") as opened:
        opened.create_snap("s2")
        opened.metadata_set("virtrbd.state", "rolling back to s1")
    half = f"image {image} is not ready: rolling back to s1; wait until that ends, or run it again; "
    for words in (
        ("image", "resize", image, "32M"),
        (*ROLLBACK, f"{image}@s2"),
        ("image", "flatten", image),
        ("image", "snapshot", "create", f"{image}@s3"),
        ("image", "snapshot", "protect", f"{image}@s1"),
        ("image", "clone", f"{image}@s1", f"vms/{name}.b"),
        ("image", "copy", image, f"vms/{name}.b"),
        ("image", "export", image, "out.raw"),
    ):
        done = world.virtrbd(*words)
        assert (done.returncode, done.stderr.startswith(half)) == (5, True), words
    assert world.virtrbd("image", "snapshot", "remove", f"{image}@s1").returncode == 5
    assert world.images(name) == [f"{name}.vda"]
    world.ok(*ROLLBACK, f"{image}@s1")
    world.ok("image", "remove", "--now", "--clear", "--allow", "loses-data", image)


@pytest.mark.timeout(120)
def test_an_image_that_another_host_marked_is_acted_on_only_by_taking_over(
    world: LabWorld, make_world: Callable[[str], LabWorld], name: str
) -> None:
    other, image = make_world("kvm-2"), f"vms/{name}.a"
    other.ok("image", "create", image, "16M")
    other.ok("image", "snapshot", "create", f"{image}@s1")
    [owner] = re.findall("<uuid>(.*)</uuid>", other.libvirt.getCapabilities())
    for words in (
        ("snapshot", "rollback", f"{image}@s1", "--allow", "loses-data"),
        ("resize", image, "32M"),
        ("snapshot", "create", f"{image}@s2"),
        ("snapshot", "protect", f"{image}@s1"),
        ("flatten", image),
        ("snapshot", "remove", f"{image}@s1", "--clear"),
        ("remove", image),
        ("restore", image),
    ):
        refused = world.virtrbd("image", *words)
        assert refused.returncode == 4, (words, refused)
        said = refused.stdout + refused.stderr
        assert f"it belongs to host kvm-2 ({owner}); do it there, or --allow takes-over" in said, (words, said)
        assert world.virtrbd("image", *words, "--allow", "takes-over").returncode == 0, words
    found = world.image(f"{name}.a")
    assert (found["size_bytes"], [each["name"] for each in found["snapshots"]]) == (32 * MIB, ["s2"])
    assert found["owner_host"] == owner, "to act on it is not to own it"
    assert found["owner_host_name"] == "kvm-2"
    assert f"made by hand on host kvm-2 ({owner})" in world.ok("image", "info", image)
    [listed] = [each for each in world.document("image", "list")["images"] if each["name"] == image]
    assert (listed["owner_host"], listed["owner_host_name"]) == (owner, "kvm-2")
    found = {each["name"]: each for each in world.document("image", "unreferenced")["images"]}[image]
    assert (found["verdict"], found["owner_host"], found["owner_host_name"]) == ("another host's", owner, "kvm-2")
    assert f"kvm-2 ({owner})" in world.ok("image", "unreferenced")
    world.ok("image", "remove", image, "--now", "--clear", "--allow", "takes-over", "--allow", "loses-data")


@pytest.mark.parametrize("verb", ["resize", "rollback"])
def test_without_libvirt_a_managed_save_can_not_be_ruled_out(world: LabWorld, name: str, verb: str) -> None:
    image, _ = with_snapshot(world, name, domain=False)
    words = ("image", "resize", image, "32M") if verb == "resize" else (*ROLLBACK, f"{image}@s1")
    done = world.virtrbd("--connect", "qemu:///system?socket=/nonexistent/libvirt-sock", *words)
    assert done.returncode == 69, done
    assert "libvirt does not answer here" in done.stderr
    assert "--allow takes-over" not in done.stderr, "what nobody knows is nothing to allow by the way"
    world.ok("image", "remove", "--now", "--clear", "--allow", "loses-data", image)
