"""To take an image away, its clones are flattened: whose they are and what they are in the middle of counts too."""

import fcntl
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import quote

import pytest
import rbd
from support.worlds import MIB, LabWorld, with_clones_v2

GOES = ("--now", "--clear", "--allow", "loses-data")


def base_with_clone(world: LabWorld, clones: LabWorld, name: str) -> tuple[str, str]:
    """Make an image with a snapshot s1, and a clone of it by another host; return their names."""
    base, clone = f"vms/{name}.base", f"vms/{name}.clone"
    world.ok("image", "create", base, "8M")
    with rbd.Image(world.vms, f"{name}.base") as opened:
        opened.write(b"x" * MIB, 0)
    world.ok("image", "snapshot", "create", "--protect", f"{base}@s1")
    clones.ok("image", "clone", f"{base}@s1", clone)
    return base, clone


@contextmanager
def at_work_on(world: LabWorld, image: str) -> Iterator[None]:
    """Another run is at work on the image."""
    with (world.state / "locks" / quote(image, safe="")).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def clone_format(world: LabWorld, image: str) -> int:
    """0 for an image that is no clone any more."""
    return int(world.image(image)["clone_format"] or 0)


@pytest.mark.timeout(120)
def test_another_host_s_clone_is_flattened_only_by_taking_over(
    world: LabWorld, make_world: Callable[[str], LabWorld], name: str
) -> None:
    other = make_world("kvm-2")
    base, clone = base_with_clone(world, other, name)
    [owner] = re.findall("<uuid>(.*)</uuid>", other.libvirt.getCapabilities())
    says = f"clone {clone}: it belongs to host kvm-2 ({owner}); do it there, or --allow takes-over\n"
    for words in (("remove", base), ("remove", *GOES, base), ("snapshot", "remove", f"{base}@s1")):
        refused = world.virtrbd("image", *words, "--clear")
        assert (refused.returncode, says in refused.stdout) == (4, True), refused
    assert clone_format(world, f"{name}.clone") == 1, "nothing was flattened"
    said = world.ok("image", "remove", *GOES, base, "--allow", "takes-over").splitlines()
    assert said[0] == f"{base}: flattened {clone}"
    assert world.content(f"{name}.clone") == b"x" * MIB + bytes(7 * MIB)
    assert world.image(f"{name}.clone")["owner_host"] == owner, "it is theirs as before"
    other.ok("image", "remove", *GOES, clone)


def test_a_domain_s_clone_is_flattened_by_its_own_name_or_by_taking_over(world: LabWorld, name: str) -> None:
    base = f"vms/{name}.base"
    world.ok("image", "create", base, "4M")
    world.ok("image", "snapshot", "create", "--protect", f"{base}@s1")
    world.ok("define", world.host.spec(name, f"disks:\n  - clone: {base}@s1\n"))
    uuid = world.libvirt.lookupByName(name).UUIDString()
    refused = world.virtrbd("image", "snapshot", "remove", "--clear", f"{base}@s1")
    way_out = f"virtrbd image flatten vms/{name}.vda"
    assert refused.returncode == 4
    assert f"clone vms/{name}.vda: it belongs to domain {uuid}; {way_out}, or --allow takes-over" in refused.stdout
    world.ok(*way_out.split()[1:])
    world.ok("image", "snapshot", "remove", "--clear", f"{base}@s1")
    world.forget(name)


def test_a_clone_that_is_not_whole_or_at_work_on_is_not_flattened(world: LabWorld, name: str) -> None:
    base, clone = base_with_clone(world, world, name)
    with rbd.Image(world.vms, f"{name}.clone") as opened:
        opened.metadata_set("virtrbd.state", "rolling back to s9")
    refused = world.virtrbd("image", "remove", "--clear", base)
    says = f"  clone {clone}: it is not ready: rolling back to s9; wait until that ends, or run it again; "
    assert (refused.returncode, says in refused.stdout) == (5, True), refused
    with rbd.Image(world.vms, f"{name}.clone") as opened:
        opened.metadata_remove("virtrbd.state")
    with at_work_on(world, clone):
        busy = world.virtrbd("image", "remove", "--clear", base)
        assert busy.returncode == 75, busy
        assert busy.stderr.startswith(f"{clone}: another run is at work on it"), busy
    assert clone_format(world, f"{name}.clone") == 1
    world.ok("image", "remove", *GOES, base)
    world.forget(name)


def test_a_clone_in_the_trash_under_the_name_of_what_goes_is_flattened(world: LabWorld, name: str) -> None:
    base, clone = base_with_clone(world, world, name)
    world.ok("image", "remove", clone)
    # Now the base takes the name that the clone had.
    world.ok("image", "restore", clone, "--as", f"{name}.b")
    rbd.RBD().rename(world.vms, f"{name}.base", f"{name}.clone")
    rbd.RBD().rename(world.vms, f"{name}.b", f"{name}.base")
    rbd.RBD().trash_move(world.vms, f"{name}.base", 86400)
    rbd.RBD().rename(world.vms, f"{name}.clone", f"{name}.base")
    said = world.ok("image", "remove", *GOES, base)
    [image_id] = re.findall(rf"{base}: flattened {base} \(in the trash, id (.*)\)\n", said)
    rbd.RBD().trash_remove(world.vms, image_id, force=True)
    assert world.images(name) == []


def test_when_one_name_is_taken_no_clone_is_made_and_all_that_are_taken_are_named(world: LabWorld, name: str) -> None:
    base, clone = base_with_clone(world, world, name)
    world.ok("image", "create", f"vms/{name}.a", "4M")
    with rbd.Image(world.vms, f"{name}.clone") as opened:
        opened.write(b"y", 0)
    refused = world.virtrbd("image", "clone", f"{base}@s1", f"vms/{name}.n", clone, f"vms/{name}.a")
    assert (refused.returncode, refused.stdout) == (5, "")
    assert refused.stderr.splitlines() == [
        f"image {each} exists; name another one, or remove it" for each in (clone, f"vms/{name}.a")
    ]
    nowhere = world.virtrbd("image", "clone", f"{base}@s1", f"vms/{name}.n", f"vms/nowhere/{name}")
    assert nowhere.returncode == 78, nowhere
    assert f"{name}.n" not in world.images(name)
    world.ok("image", "remove", *GOES, base)
    world.forget(name)


def test_clones_that_the_same_command_made_are_told_as_already_there(world: LabWorld, name: str) -> None:
    base, clone = base_with_clone(world, world, name)
    again, image_id = ("image", "clone", f"{base}@s1", clone, f"vms/{name}.n"), world.image(f"{name}.clone")["id"]
    assert world.ok(*again) == f"{clone}: already there, cloned from {base}@s1\nvms/{name}.n: cloned from {base}@s1\n"
    done = world.document(*again)
    assert (done["already_there"], done["changed"]) == ([clone, f"vms/{name}.n"], False)
    assert world.image(f"{name}.clone")["id"] == image_id
    world.ok("image", "remove", *GOES, base)
    world.forget(name)


def write(image: rbd.Image) -> None:
    image.write(b"y", 0)


def shrink(image: rbd.Image) -> None:
    image.resize(4 * MIB)


def snap(image: rbd.Image) -> None:
    image.create_snap("s9")


def unmark(image: rbd.Image) -> None:
    image.metadata_remove("virtrbd.owner")


@pytest.mark.parametrize("change", [write, shrink, snap, unmark, rbd.Image.flatten])
def test_a_clone_that_somebody_did_something_with_is_not_taken_for_a_new_one(
    world: LabWorld, name: str, change: Callable[[rbd.Image], None]
) -> None:
    base, clone = base_with_clone(world, world, name)
    with rbd.Image(world.vms, f"{name}.clone") as opened:
        change(opened)
    refused = world.virtrbd("image", "clone", f"{base}@s1", clone)
    assert (refused.returncode, f"image {clone} exists" in refused.stderr) == (5, True), refused
    if change is snap:
        world.ok("image", "snapshot", "remove", f"{clone}@s9")
    if change is unmark:
        world.ok("image", "flatten", clone)
    world.ok("image", "remove", *GOES, base)
    world.forget(name)


def test_another_host_s_clone_is_not_ours(world: LabWorld, make_world: Callable[[str], LabWorld], name: str) -> None:
    base, clone = base_with_clone(world, make_world("kvm-2"), name)
    refused = world.virtrbd("image", "clone", f"{base}@s1", clone)
    assert (refused.returncode, f"image {clone} exists" in refused.stderr) == (5, True), refused
    world.ok("image", "remove", *GOES, base, "--allow", "takes-over")
    world.forget(name)


def test_a_clone_of_a_snapshot_that_had_the_name_before_is_another_s_clone(world: LabWorld, name: str) -> None:
    base, clone = f"vms/{name}.base", f"vms/{name}.clone"
    world.ok("image", "create", base, "4M")
    world.ok("image", "snapshot", "create", f"{base}@s1")
    v2 = with_clones_v2(world)
    v2.ok("image", "clone", f"{base}@s1", clone)
    assert v2.document("image", "clone", f"{base}@s1", clone)["already_there"] == [clone]
    # One that clones v2 need is kept out of sight, and its name is free.
    world.host.ok("rbd", "snap", "rm", "--no-progress", f"{base}@s1", admin=True)
    world.ok("image", "snapshot", "create", f"{base}@s1")
    refused = v2.virtrbd("image", "clone", f"{base}@s1", clone)
    assert (refused.returncode, f"image {clone} exists" in refused.stderr) == (5, True), refused
    world.ok("image", "remove", *GOES, base)
    world.forget(name)


@pytest.mark.parametrize("verb", ["clone", "define"])
def test_a_clone_that_was_cut_off_before_it_had_its_parent_is_made_anew(world: LabWorld, name: str, verb: str) -> None:
    base = f"vms/{name}.base"
    world.ok("image", "create", base, "8M")
    with rbd.Image(world.vms, f"{name}.base") as opened:
        opened.write(b"x" * MIB, 0)
    world.ok("image", "snapshot", "create", "--protect", f"{base}@s1")
    words = {
        "clone": ("image", "clone", f"{base}@s1", f"vms/{name}.vda"),
        "define": ("define", world.host.spec(name, f"disks:\n  - clone: {base}@s1\n")),
    }[verb]
    n = 1
    while world.run_killed(n, "before", *words)[1][-1] != "RBD.clone":
        n += 1
    # What librbd does first of a clone, and what is left when it is cut off then.
    rbd.RBD().create(world.vms, f"{name}.vda", 8 * MIB, old_format=False)
    world.ok(*words)
    found = world.image(f"{name}.vda")
    assert (found["parents"], bool(found["owner_host"])) == ([f"{base}@s1"], True)
    assert world.content(f"{name}.vda") == b"x" * MIB + bytes(7 * MIB)
    assert world.intents(name) == []
    world.ok("image", "flatten", f"vms/{name}.vda")
    world.ok("image", "remove", *GOES, base)
    world.forget(name)


@pytest.mark.parametrize("verb", ["remove", "snapshot remove", "trash purge"])
def test_what_a_removal_did_before_it_failed_is_in_its_json_too(world: LabWorld, room: str, verb: str) -> None:
    base, clones = f"{room}/base", [f"{room}/a", f"{room}/b"]
    world.ok("image", "create", base, "4M")
    world.ok("image", "snapshot", "create", f"{base}@s1", "--protect")
    with_clones_v2(world).ok("image", "clone", f"{base}@s1", *clones)
    if verb == "trash purge":
        world.host.ok("rbd", "trash", "mv", base, admin=True)
    subject = {"remove": base, "snapshot remove": f"{base}@s1", "trash purge": room}[verb]
    with at_work_on(world, clones[1]):
        failed = world.document("image", *verb.split(), "--clear", subject)
    busy = f"{clones[1]}: another run is at work on it; try again when it is done"
    did = [f"flattened {clones[0]}"]
    if verb == "trash purge":
        [entry] = failed["trash"]
        assert (entry["done"], entry["error"]) == (did, busy)
    else:
        assert (failed["done"], failed["changed"], failed["errors"], failed["exit_code"]) == (did, True, [busy], 75)
        assert failed["steps"][:2] == [f"flatten {clone}" for clone in clones]
    world.ok("image", *verb.split(), "--clear", subject)
    for image in (*clones, *([base] if verb == "snapshot remove" else [])):
        world.ok("image", "remove", *GOES, image)
    world.ok("image", "trash", "purge", "--now", "--clear", "--allow", "loses-data", room)


def test_a_clone_is_flattened_under_the_guest_that_runs_with_it(world: LabWorld, name: str) -> None:
    base, clone = f"vms/{name}.base", f"vms/{name}.vda"
    world.ok("image", "create", base, "8M")
    with rbd.Image(world.vms, f"{name}.base") as opened:
        opened.write(b"x" * MIB, 0)
        opened.write(b"y" * MIB, 5 * MIB)
    content = world.content(f"{name}.base")
    world.ok("image", "snapshot", "create", "--protect", f"{base}@s1")
    world.ok("define", "--start", world.host.spec(name, f"disks:\n  - clone: {base}@s1\n"))
    assert world.ok("image", "flatten", clone) == f"{clone}: flattened\n"
    found = world.image(f"{name}.vda")
    assert (found["parents"], found["flags"], len(found["watchers"])) == ([], [], 1)
    assert world.content(f"{name}.vda") == content
    world.ok("image", "remove", *GOES, base)
    world.forget(name)
