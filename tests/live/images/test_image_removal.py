"""Removal explains itself: every kind of blocker made for real, named, and cleared by the steps where steps can."""

import json

import pytest
import rbd
from support.lab import LabHost
from support.operators import operator_of
from support.worlds import MIB, LabWorld, with_clones_v2

DAY_S = 86400
GOES = ("--now", "--clear", "--allow", "loses-data")


def plan_of(world: LabWorld, *words: str) -> tuple[list[str], list[str]]:
    """What keeps it, and the steps; nothing is done."""
    document = world.document("image", *words, "--plan")
    assert (document["done"], document["changed"]) == ([], False)
    return [each["text"] for each in document["blockers"]], document["steps"]


def trashed(world: LabWorld, image: str) -> list[dict[str, str]]:
    found = world.document("image", "trash", "list", world.pool)["trash"]
    return [entry for entry in found if entry["name"] == f"{world.pool}/{image}"]


def snapshots(world: LabWorld, image: str) -> list[str]:
    with rbd.Image(world.vms, image, read_only=True) as opened:
        return [snapshot["name"] for snapshot in opened.list_snaps()]


def test_an_image_waits_in_the_trash_comes_back_and_goes(roomed: LabWorld, name: str) -> None:
    world, pool = roomed, roomed.pool
    image = f"{pool}/{name}.a"
    world.ok("image", "create", image, "4M")
    assert plan_of(world, "remove", image) == ([], [f"move {image} to the trash for 14d"])
    assert world.ok("image", "remove", image) == f"{image}: moved to the trash for 14d\n"
    [entry] = [each for each in rbd.RBD().trash_list(world.vms) if each["name"] == f"{name}.a"]
    waits_s = (entry["deferment_end_time"] - entry["deletion_time"]).total_seconds()
    assert waits_s == pytest.approx(14 * DAY_S, abs=2), "librbd's own delay is none"
    again = world.virtrbd("image", "remove", image)
    assert again.returncode == 5
    assert f"image {image} is in the trash; bring it back with virtrbd image restore {image}" in again.stderr
    assert world.ok("image", "trash", "purge", pool) == "nothing to purge\n", "its delay is not over"
    early = world.virtrbd("image", "trash", "purge", pool, "--now")
    assert early.returncode == 4
    assert f"{image}: kept by\n  its delay is not over; wait for it, or --allow loses-data\n" in early.stdout
    assert world.ok("image", "restore", image) == f"{image}: restored\n"
    assert world.image(f"{name}.a")["owner_host"], "its mark came back with it"
    # Twice under one name: which one is told by its id.
    world.ok("image", "remove", image, "--delay", "0s")
    world.ok("image", "create", image, "8M")
    world.ok("image", "remove", image, "--delay", "12h")
    which = world.virtrbd("image", "restore", image)
    assert which.returncode == 64
    assert f"{image} is in the trash 2 times; write --id with one of " in which.stderr
    older = min(trashed(world, f"{name}.a"), key=lambda each: each["expires"])
    restored = world.ok("image", "restore", image, "--id", older["id"], "--as", f"{name}.b")
    assert restored == f"{pool}/{name}.b: restored\n"
    world.ok("image", "create", image, "4M")
    taken = world.virtrbd("image", "restore", image)
    assert (taken.returncode, taken.stderr) == (5, f"image {image} exists; restore under another name with --as NAME\n")
    world.ok("image", "remove", "--delay", "0s", f"{pool}/{name}.b")
    assert f"{pool}/{name}.b: removed for good\n" in world.ok("image", "trash", "purge", pool)
    assert [each["name"] for each in trashed(world, f"{name}.a")] == [image], "what still waits stays"
    assert f"{image}: removed for good\n" in world.ok("image", "trash", "purge", pool, "--now", "--allow", "loses-data")
    world.ok("image", "remove", image, "--now", "--allow", "loses-data")
    assert (world.images(name), trashed(world, f"{name}.a")) == ([], [])


def test_snapshots_clones_and_their_protection_are_named_and_cleared_in_order(world: LabWorld, name: str) -> None:
    base, clone, gone = (f"vms/{name}.{letter}" for letter in ("base", "clone", "gone"))
    world.ok("image", "create", base, "8M")
    with rbd.Image(world.vms, f"{name}.base") as opened:
        opened.write(b"x" * MIB, 0)
    world.ok("image", "snapshot", "create", "--protect", f"{base}@s1")
    world.ok("image", "snapshot", "create", f"{base}@s2")
    world.ok("image", "clone", f"{base}@s1", clone, gone)
    world.ok("image", "remove", gone)
    [entry] = trashed(world, f"{name}.gone")
    clones = f"snapshot s1 has clones: {clone}, {gone} (in the trash, id {entry['id']})"
    flatten = [f"flatten {clone}", f"flatten {gone} (in the trash, id {entry['id']})"]
    assert plan_of(world, "remove", base) == ([clones], [*flatten, f"move {base} to the trash for 14d"])
    assert plan_of(world, "snapshot", "remove", f"{base}@s1") == (
        [clones, "snapshot s1 is protected"], [*flatten, f"unprotect {base}@s1", f"remove snapshot {base}@s1"]
    )  # fmt: skip
    texts, steps = plan_of(world, "remove", "--now", base)
    assert texts == [
        clones, "it has the user snapshot s1, protected", "it has the user snapshot s2", "it can't be restored"
    ]  # fmt: skip
    assert steps == [
        *flatten, f"unprotect {base}@s1", f"remove snapshot {base}@s1", f"remove snapshot {base}@s2",
        f"remove {base} for good",
    ]  # fmt: skip
    for words in (("remove", base), ("remove", "--now", "--clear", base), ("snapshot", "remove", f"{base}@s1")):
        refused = world.virtrbd("image", *words)
        assert (refused.returncode, refused.stdout.splitlines()[0].endswith("kept by")) == (4, True), words
    assert snapshots(world, f"{name}.base") == ["s1", "s2"], "a refusal does nothing"
    said = world.ok("image", "remove", *GOES, base).splitlines()
    assert said == [
        f"{base}: flattened {clone}", f"{base}: flattened {flatten[1].removeprefix('flatten ')}",
        f"{base}: unprotected {base}@s1", f"{base}: removed snapshot {base}@s1",
        f"{base}: removed snapshot {base}@s2", f"{base}: removed for good",
    ]  # fmt: skip
    world.ok("image", "restore", gone)
    for parted in ("clone", "gone"):
        assert world.content(f"{name}.{parted}") == b"x" * MIB + bytes(7 * MIB)
    assert world.images(name) == [f"{name}.clone", f"{name}.gone"]
    world.forget(name)


def test_a_removed_snapshot_that_clones_v2_still_need_is_told(roomed: LabWorld, name: str) -> None:
    world, pool = roomed, roomed.pool
    base, clone = f"{pool}/{name}.base", f"{pool}/{name}.clone"
    world.ok("image", "create", base, "4M")
    world.ok("image", "snapshot", "create", f"{base}@s1")
    with_clones_v2(world).ok("image", "clone", f"{base}@s1", clone)
    assert world.image(f"{name}.clone")["clone_format"] == 2
    assert plan_of(world, "snapshot", "remove", f"{base}@s1")[0] == [f"snapshot s1 has clones: {clone}"]
    # rbd lets it through: it goes to the trash namespace of snapshots, and the image can't be removed.
    world.host.ok("rbd", "snap", "rm", "--no-progress", f"{base}@s1", admin=True)
    [kept] = world.image(f"{name}.base")["snapshots"]
    assert (kept["kind"], kept["label"], kept["children"]) == ("trash", "s1", [clone])
    texts, steps = plan_of(world, "remove", base)
    assert texts == [f"snapshot s1 (removed, and kept for them in the trash) has clones: {clone}"]
    assert steps == [f"flatten {clone}", f"move {base} to the trash for 14d"]
    # A purge leaves what clones need.
    world.ok("image", "remove", "--clear", base, "--delay", "0s")
    assert f"{base}: removed for good\n" in world.ok("image", "trash", "purge", pool)
    assert world.images(name) == [f"{name}.clone"]
    world.forget(name)


def test_a_purge_leaves_what_clones_need_until_it_is_told_to_part_them(roomed: LabWorld, name: str) -> None:
    world, pool = roomed, roomed.pool
    base, clone = f"{pool}/{name}.base", f"{pool}/{name}.clone"
    world.ok("image", "create", base, "4M")
    world.ok("image", "snapshot", "create", "--protect", f"{base}@s1")
    # By rbd's own hand: virtrbd does not trash what clones need. Only clones v2 let rbd do it.
    with_clones_v2(world).ok("image", "clone", f"{base}@s1", clone)
    rbd.RBD().trash_move(world.vms, f"{name}.base", 0)
    kept = world.virtrbd("image", "trash", "purge", pool)
    assert kept.returncode == 4
    assert f"{base}: kept by\n  snapshot s1 has clones: {clone}; the steps below clear it: --clear\n" in kept.stdout
    said = world.ok("image", "trash", "purge", pool, "--clear")
    assert f"{base}: flattened {clone}\n{base}: unprotected {base}@s1\n{base}: removed snapshot {base}@s1\n" in said
    assert f"{base}: removed for good\n" in said
    world.forget(name)


def test_a_group_and_its_snapshot_are_left_to_the_person(world: LabWorld, name: str) -> None:
    image, group = f"vms/{name}.a", f"vms/{name}group"
    world.ok("image", "create", image, "4M")
    for words in (("group", "create", group), ("group", "image", "add", group, image),
                  ("group", "snap", "create", f"{group}@g1")):  # fmt: skip
        world.host.ok("rbd", *words, admin=True)
    found = {each["text"]: each["way_out"] for each in world.document("image", "remove", image, "--plan")["blockers"]}
    assert found == {
        f"it has the group snapshot {group}@g1": f"rbd group snap remove {group}@g1",
        f"it is in group {group}": f"rbd group image remove {group} {image}",
    }
    refused = world.virtrbd("image", "remove", *GOES, image)
    assert refused.returncode == 5, "neither steps nor flags take them away"
    # The ways out are commands, and they work.
    for way_out in found.values():
        world.host.ok(*way_out.split(), admin=True)
    assert world.ok("image", "remove", *GOES, image) == f"{image}: removed for good\n"
    world.host.ok("rbd", "group", "remove", group, admin=True)


def test_a_client_that_has_it_open_is_waited_for_then_named(world: LabWorld, name: str, host: LabHost) -> None:
    image, hasty = f"vms/{name}.a", operator_of(host)
    world.ok("image", "create", image, "4M")
    world.ok("image", "snapshot", "create", f"{image}@s1")
    with rbd.Image(world.vms, f"{name}.a"):
        [watcher] = json.loads(host.ok("rbd", "status", "--format", "json", image))["watchers"]
        who = f"client.{watcher['client']} at {watcher['address'].split('/')[0]}"
        for words in (("remove", image), ("remove", *GOES, image)):
            refused = hasty.run("image", *words)
            assert refused.code == 5, refused
            assert f"{image}: it is open by {who}; waiting up to 1 s in case it is what a crash left" in refused.err
            assert f"  it is open by {who}; stop that client\n" in refused.out
        looked = hasty.run("image", "remove", "--plan", image)
        assert (looked.code, looked.err) == (5, ""), "only to look, nobody waits"
    assert world.ok("image", "remove", *GOES, image).splitlines()[-1] == f"{image}: removed for good"


def test_a_domain_keeps_its_images(world: LabWorld, name: str) -> None:
    image = f"vms/{name}.vda"
    world.ok("define", world.host.spec(name, "disks:\n  - size: 4M\n"))
    [blocker] = world.document("image", "remove", image, "--plan")["blockers"]
    assert blocker["text"] == f"domain {name} has it as disk vda"
    assert blocker["way_out"] == f"virtrbd undefine {name}, or take the disk out of its spec"
    assert world.virtrbd("image", "remove", *GOES, image).returncode == 5
    world.ok("undefine", name)
    world.ok("image", "remove", *GOES, image)


def test_unreferenced_tells_what_nothing_uses_and_removes_nothing(world: LabWorld, name: str) -> None:
    used, free, base, clone, opened, half, gone = (
        f"{name}.{each}" for each in ("vda", "free", "base", "clone", "open", "half", "gone")
    )
    world.ok("define", world.host.spec(name, "disks:\n  - size: 4M\n"))
    for image in (free, base, opened, half, gone):
        world.ok("image", "create", f"vms/{image}", "8M")
    with rbd.Image(world.vms, free) as image:
        image.write(b"x", 0)
    with rbd.Image(world.vms, half) as image:
        image.metadata_set("virtrbd.state", "importing 1")
    world.ok("image", "snapshot", "create", "--protect", f"vms/{base}@s")
    world.ok("image", "clone", f"vms/{base}@s", f"vms/{clone}")
    world.ok("image", "remove", f"vms/{gone}")
    with rbd.Image(world.vms, opened):
        document = world.document("image", "unreferenced")
        text = world.ok("image", "unreferenced")
    found = {each["name"]: each for each in document["images"] if each["name"].startswith(f"vms/{name}")}
    assert {image.removeprefix(f"vms/{name}."): each["verdict"] for image, each in found.items()} == {
        "free": "unreferenced", "clone": "unreferenced", "half": "half-made", "gone": "in the trash",
    }  # fmt: skip
    assert found[f"vms/{free}"]["reclaimable_bytes"] == 4 * MIB
    assert found[f"vms/{gone}"]["expires"] is not None
    assert [line.split()[-2:] for line in text.splitlines() if line.startswith(f"vms/{free}")] == [["this", "one"]]
    assert used in world.images(name)
    # As the other host sees it, each of them is this one's to judge.
    theirs = [line for line in other_host_says(world) if line.startswith(f"vms/{name}.")]
    assert [line.split()[0].removeprefix(f"vms/{name}.") for line in theirs] == [
        "clone", "free", "gone", "half", "open", "vda"
    ]  # fmt: skip
    assert all("another host's" in line for line in theirs if not line.startswith((f"vms/{gone}", f"vms/{half}")))
    world.ok("undefine", name)
    world.ok("image", "remove", *GOES, f"vms/{base}")
    world.ok("image", "restore", f"vms/{gone}")
    world.forget(name)


def other_host_says(world: LabWorld) -> list[str]:
    """The report of the lab's other host."""
    other = type(world.host)(name="kvm-2", folder=world.host.folder)
    return str(other.ok("virtrbd", "image", "unreferenced")).splitlines()


def test_a_client_that_was_killed_is_outlived(world: LabWorld, name: str) -> None:
    image = f"vms/{name}.a"
    world.ok("image", "create", image, "4M")
    code, _ = world.run_killed(1, "after", "image", "snapshot", "create", f"{image}@s1")
    assert code == -9
    assert world.ok("image", "remove", *GOES, image).splitlines()[-1] == f"{image}: removed for good"
    assert world.images(name) == []
