"""Every image verb on the lab, as text and as JSON; how it ends when there is trouble is told elsewhere."""

import itertools
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import rbd
from support.sources import as_disk
from support.terminal import on_a_terminal
from support.worlds import MIB, LabWorld, Sources


def fill(world: LabWorld, image: str, content: bytes) -> None:
    with rbd.Image(world.vms, image) as opened:
        opened.write(content, 0)


def test_create_lays_an_image_as_told_and_info_tells_it(world: LabWorld, name: str) -> None:
    image = f"{name}.a"
    layout = ("--object-size", "1M", "--stripe-unit", "64K", "--stripe-count", "4", "--data-pool", "golden")
    features = "layering,striping,exclusive-lock,object-map,fast-diff"
    said = world.ok("image", "create", f"vms/{image}", "32M", *layout, "--features", features)
    assert said == f"vms/{image}: created (32 MiB)\n"
    found = world.image(image)
    with rbd.Image(world.vms, image, read_only=True) as opened:
        assert (found["id"], found["size_bytes"]) == (opened.id(), opened.size()) == (opened.id(), 32 * MIB)
        assert (found["stripe_unit_bytes"], found["stripe_count"]) == (opened.stripe_unit(), opened.stripe_count())
        assert found["data_prefix"] == opened.block_name_prefix()
    assert (found["object_bytes"], found["stripe_count"], found["data_pool"]) == (MIB, 4, "golden")
    assert found["features"] == [*features.split(","), "data-pool"]
    assert (found["state"], found["watchers"], found["lock"], found["parent"]) == ("ready", [], [], None)
    assert found["owner_host"] == world.libvirt.getCapabilities().split("<uuid>")[1].split("</uuid>")[0]
    fill(world, image, b"x" * 3 * MIB)
    text = world.ok("image", "info", f"vms/{image}")
    for line in ("size       32 MiB in objects of 1 MiB", "in pool golden", "stripes    64 KiB over 4 objects"):
        assert line in text
    again = world.virtrbd("image", "create", f"vms/{image}", "32M")
    assert (again.returncode, again.stderr) == (5, f"image vms/{image} exists; name another one, or remove it\n")
    world.forget(name)


def test_a_size_that_no_object_map_holds_is_refused_in_words(world: LabWorld, name: str) -> None:
    image = f"vms/{name}.a"
    world.ok("image", "create", image, "8M")
    for verb, other in (("create", f"vms/{name}.b"), ("resize", image)):
        done = world.virtrbd("image", verb, other, "100P")
        assert done.returncode == 5, done
        assert done.stderr.startswith(
            f"image {other}: 100 PiB is more than an object map can hold: 256,000,000 objects"
        )
    assert world.images(name) == [f"{name}.a"]
    assert world.intents(name) == []
    world.forget(name)


def test_a_snapshot_is_shown_on_a_screen_of_its_own(world: LabWorld, name: str) -> None:
    image = f"vms/{name}.a"
    world.ok("image", "create", image, "8M")
    world.ok("image", "snapshot", "create", f"{image}@s", "--protect")
    world.ok("image", "resize", image, "16M")
    found = world.document("image", "info", f"{image}@s")
    assert (found["snapshot"]["size_bytes"], found["image"]["size_bytes"]) == (8 * MIB, 16 * MIB)
    text = world.ok("image", "info", f"{image}@s")
    assert text.startswith(f"{image}@s\n")
    for line in ("size       8 MiB\n", "protected  yes\n", f"virtrbd image info {image} shows it as it is\n"):
        assert line in text
    world.ok("image", "snapshot", "remove", f"{image}@s", "--clear")
    world.forget(name)


def test_resize_grows_and_never_shrinks(world: LabWorld, name: str) -> None:
    image = f"vms/{name}.a"
    world.ok("image", "create", image, "8M")
    assert world.ok("image", "resize", image, "16M") == f"{image}: grown from 8 MiB to 16 MiB\n"
    assert world.ok("image", "resize", image, "16M") == f"{image}: is 16 MiB already\n"
    assert world.document("image", "resize", image, "24M") == {
        "image": image, "from_bytes": 16 * MIB, "size_bytes": 24 * MIB, "told": None, "changed": True,
    }  # fmt: skip
    done = world.virtrbd("image", "resize", image, "8M")
    assert done.returncode == 5
    assert f"image {image} is 24 MiB, larger than 8 MiB; images never shrink" in done.stderr
    assert world.image(f"{name}.a")["size_bytes"] == 24 * MIB
    world.forget(name)


def test_usage_tells_which_images_it_can_not_count(world: LabWorld, name: str) -> None:
    known, unknown = f"vms/{name}.a", f"vms/{name}.b"
    world.ok("image", "create", known, "8M")
    world.ok("image", "create", unknown, "8M", "--features", "layering,exclusive-lock")
    for each in "ab":
        fill(world, f"{name}.{each}", b"x" * 4 * MIB)
    told = world.document("image", "usage", known, unknown)
    assert (told["without_fast_diff"], told["total_used_bytes"]) == ([unknown], 4 * MIB)
    lines = world.ok("image", "usage", known, unknown).splitlines()
    assert lines[-2].split() == [unknown, "-", *["unknown:", "no", "valid", "fast-diff"], "-"]
    assert lines[-1] == "2 images, 4 MiB, without 1 that have no valid fast-diff"
    world.forget(name)


@pytest.mark.stack
def test_list_usage_and_info_count_alike(world: LabWorld, name: str) -> None:
    image = f"vms/{name}.a"
    world.ok("image", "create", image, "64M")
    fill(world, f"{name}.a", b"x" * 8 * MIB)
    world.ok("image", "snapshot", "create", f"{image}@s1")
    fill(world, f"{name}.a", b"y" * 4 * MIB)
    [row] = [row for row in world.document("image", "list")["images"] if row["name"] == image]
    assert (row["size_bytes"], row["snapshots"], row["state"]) == (64 * MIB, 1, "ready")
    [usage] = world.document("image", "usage", image)["images"]
    assert (usage["used_bytes"], usage["snapshots"], usage["total_used_bytes"]) == (4 * MIB, {"s1": 8 * MIB}, 12 * MIB)
    du = json.loads(world.host.ok("rbd", "du", "--format", "json", image))
    assert [each["used_size"] for each in du["images"]] == [8 * MIB, 4 * MIB]
    info = world.image(f"{name}.a")
    assert (info["used_bytes"], info["total_used_bytes"]) == (4 * MIB, 12 * MIB)
    [line] = [line for line in world.ok("image", "usage", image).splitlines() if line.startswith(f"{image} ")]
    assert line.split()[1:] == ["64", "MiB", "4", "MiB", "8", "MiB"]
    world.ok("image", "remove", "--now", "--clear", "--allow", "loses-data", image)


def test_info_names_options_and_where_they_were_set(world: LabWorld, name: str) -> None:
    world.ok("image", "create", f"vms/{name}.a", "8M")
    with rbd.Image(world.vms, f"{name}.a") as opened:
        opened.metadata_set("conf_rbd_cache", "false")
    options = {each["name"]: each for each in world.image(f"{name}.a")["options"]}
    assert options["rbd_cache"] == {"name": "rbd_cache", "value": "false", "source": "image"}
    assert options["rbd_cache_size"]["source"] == "config"
    assert "options    rbd_cache=false (image)" in world.ok("image", "info", f"vms/{name}.a")
    world.forget(name)


def test_import_reads_what_qemu_img_reads_and_verifies_it(world: LabWorld, name: str, sources: Sources) -> None:
    def check(form: str) -> None:
        file = world.host.folder / f"copy.{form}"
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", form, sources.file, file], check=True)
        said = world.ok("image", "import", str(file), f"vms/{name}.{form}", "--verify")
        assert said == f"vms/{name}.{form}: imported from {file} (6 MiB), verified\n"
        assert world.content(f"{name}.{form}") == sources.file_content

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(check, ["raw", "qcow2", "vmdk", "vdi", "vhdx"]))
    world.forget(name)


def test_import_reads_a_pipe_to_its_end(world: LabWorld, name: str) -> None:
    data = as_disk(os.urandom(9 * MIB + 600))
    done = subprocess.run(
        [sys.executable, "-m", "virtrbd", "image", "import", "-", f"vms/{name}.a", "--verify", "--progress", "json"],
        env=world.env, input=data, capture_output=True, check=False, timeout=50,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode() == f"vms/{name}.a: imported from standard input (9 MiB), verified\n"
    lines = [json.loads(line)["progress"] for line in done.stderr.splitlines() if line.startswith(b"{")]
    assert lines[0]["what"] == f"vms/{name}.a"
    assert lines[-1]["done_bytes"] == len(data)
    assert world.content(f"{name}.a") == data + bytes(-len(data) % 512)
    nothing = world.virtrbd("image", "import", "-", f"vms/{name}.b")
    assert (nothing.returncode, nothing.stderr) == (
        5, "standard input: no data; is the command before the pipe right?\n"
    )  # fmt: skip
    assert world.images(name) == [f"{name}.a"]
    world.forget(name)


def test_import_says_what_is_wrong_with_a_file(world: LabWorld, name: str) -> None:
    folder: Path = world.host.folder
    (folder / "empty.raw").touch()
    (folder / "folder").mkdir()
    (folder / "broken.qcow2").write_bytes(b"QFI\xfb\0\0\0\x09" + bytes(600))
    for file, message in {
        "empty.raw": "empty.raw: is empty; there is nothing to import",
        "folder": "folder: is a folder; name the file in it",
        "nowhere.raw": "nowhere.raw: no such file; check the path",
        "broken.qcow2": "broken.qcow2: is damaged or cut short: it is qcow2 of version 9; get the file again",
    }.items():
        done = world.virtrbd("image", "import", file, f"vms/{name}.a")
        assert (done.returncode, done.stderr) == (65, f"{message}\n")
    assert world.images(name) == []


@pytest.mark.stack
def test_a_base_is_imported_cloned_and_parted(world: LabWorld, name: str, sources: Sources) -> None:
    base, clones = f"vms/{name}.base", [f"vms/{name}.{letter}" for letter in "abc"]
    said = world.ok("image", "import", str(sources.file), base, "--as-base").splitlines()
    assert said == [f"{base}: imported from {sources.file} (6 MiB)", f"{base}@base: created, protected"]
    with rbd.Image(world.vms, f"{name}.base") as opened:
        opened.metadata_set("conf_rbd_cache", "false")
    done = world.virtrbd("image", "clone", f"{base}@base", *clones)
    assert done.stdout.splitlines() == [f"{clone}: cloned from {base}@base" for clone in clones]
    assert f"image {clones[0]}: not taken over from its parent: rbd_cache=false" in done.stderr
    for clone in "abc":
        with rbd.Image(world.vms, f"{name}.{clone}", read_only=True) as opened:
            assert [key for key, _ in opened.metadata_list()] == ["virtrbd.owner"], "its own mark and nothing else"
        assert world.content(f"{name}.{clone}") == sources.file_content
    info = world.image(f"{name}.a")
    assert (info["parents"], info["clone_format"], info["overlap_bytes"]) == ([f"{base}@base"], 1, 6 * MIB)
    assert f"parent     {base}@base (clone v1, depth 1)" in world.ok("image", "info", clones[0])
    assert [child["name"] for child in world.image(f"{name}.base")["children"]] == clones
    assert world.ok("image", "flatten", clones[0]) == f"{clones[0]}: flattened\n"
    assert world.ok("image", "flatten", clones[0]) == f"{clones[0]}: has no parent\n"
    assert (world.image(f"{name}.a")["parents"], world.content(f"{name}.a")) == ([], sources.file_content)
    partly = world.virtrbd("image", "clone", f"{base}@base", clones[0], f"vms/{name}.d")
    assert (partly.returncode, partly.stdout) == (5, "")
    assert partly.stderr == f"image {clones[0]} exists; name another one, or remove it\n"
    assert f"{name}.d" not in world.images(name), "one that can't be made keeps all from being made"
    world.ok("image", "snapshot", "remove", f"{base}@base", "--clear")
    world.forget(name)


def test_a_chain_of_clones_that_is_too_long_asks_for_a_flatten(world: LabWorld, name: str) -> None:
    settings = world.host.folder / "deep.yaml"
    settings.write_text(Path(world.env["VIRTRBD_CONFIG"]).read_text().replace("ceph:\n", "ceph:\n  clone_depth: 1\n"))
    names = [f"vms/{name}.{depth}" for depth in range(3)]
    world.ok("image", "create", names[0], "4M")
    for parent, child in itertools.pairwise(names):
        world.ok("image", "snapshot", "create", "--protect", f"{parent}@s")
        said = world.virtrbd("--config", str(settings), "image", "clone", f"{parent}@s", child)
        assert said.returncode == 0
    assert f"{names[2]}: 2 images deep, over the limit of 1" in said.stderr
    text = world.ok("image", "info", names[2], "--config", str(settings))
    assert (
        f"{names[1]}@s <- {names[0]}@s (clone v1, depth 2, over the limit of 1: virtrbd image flatten)" in text
    )  # fmt: skip
    for image in reversed(names):
        world.ok("image", "remove", "--now", "--clear", "--allow", "loses-data", image)


@pytest.mark.stack
def test_copy_and_export_take_an_image_or_a_snapshot(world: LabWorld, name: str, sources: Sources) -> None:
    image = f"vms/{name}.a"
    world.ok("image", "import", str(sources.file), image)
    assert world.ok("image", "snapshot", "create", f"{image}@s1") == f"{image}@s1: created\n"
    fill(world, f"{name}.a", b"z" * MIB)
    copied = world.ok("image", "copy", f"{image}@s1", f"vms/{name}.b", "--object-size", "1M")
    assert copied == f"vms/{name}.b: copied from {image}@s1 (6 MiB)\n"
    assert (world.content(f"{name}.b"), world.image(f"{name}.b")["object_bytes"]) == (sources.file_content, MIB)
    for form in ("raw", "qcow2"):
        file = world.host.folder / f"out.{form}"
        said = world.ok("image", "export", f"{image}@s1", file.name, "--format", form, "--verify")
        assert said == f"{image}@s1: exported to out.{form} (6 MiB, verified)\n"
        assert file.stat().st_mode & 0o777 == 0o600, "it may be somebody's disk"
        subprocess.run(["qemu-img", "compare", "-F", form, "-f", "raw", sources.file, file], check=True)
    again = world.virtrbd("image", "export", image, "out.raw")
    assert (again.returncode, again.stderr) == (5, "out.raw: exists; name another file, or remove it\n")
    assert (world.host.folder / "out.raw").read_bytes() == sources.file_content
    assert not list(world.host.folder.glob(".*.part"))
    world.ok("image", "remove", "--now", "--clear", "--allow", "loses-data", image)
    world.forget(name)


@pytest.mark.stack
def test_snapshots_are_listed_rolled_back_to_and_removed(world: LabWorld, name: str) -> None:
    image = f"vms/{name}.a"
    world.ok("image", "create", image, "4M")
    fill(world, f"{name}.a", b"old" * 1000)
    before = world.content(f"{name}.a")
    world.ok("image", "snapshot", "create", f"{image}@s1")
    assert world.ok("image", "snapshot", "create", f"{image}@s1") == f"{image}@s1: exists already\n"
    assert world.ok("image", "snapshot", "protect", f"{image}@s1") == f"{image}@s1: protected\n"
    assert world.ok("image", "snapshot", "protect", f"{image}@s1") == f"{image}@s1: is protected\n"
    [found] = world.document("image", "snapshot", "list", image)["snapshots"]
    assert (found["name"], found["kind"], found["protected"], found["children"]) == ("s1", "user", True, [])
    assert world.ok("image", "snapshot", "list", image).splitlines()[1].split()[:2] == ["s1", "user"]
    fill(world, f"{name}.a", b"new" * 1000)
    refused = world.virtrbd("image", "snapshot", "rollback", f"{image}@s1")
    assert (refused.returncode, refused.stderr) == (
        4, f"image {image}: what was written since {image}@s1 is lost; --allow loses-data does it\n"
    )  # fmt: skip
    world.ok("image", "resize", image, "8M")
    refused = world.virtrbd("image", "snapshot", "rollback", f"{image}@s1")
    assert "is lost, and it shrinks from 8 MiB to 4 MiB; --allow loses-data does it" in refused.stderr
    said = world.ok("image", "snapshot", "rollback", f"{image}@s1", "--allow", "loses-data")
    assert said == f"{image}: rolled back to {image}@s1\n"
    assert (world.content(f"{name}.a"), world.image(f"{name}.a")["state"]) == (before, "ready")
    world.ok("image", "snapshot", "remove", f"{image}@s1", "--clear")
    assert world.ok("image", "snapshot", "list", image) == "no snapshots\n"
    world.forget(name)


def test_what_is_not_there_is_named(world: LabWorld, name: str) -> None:
    image, pool = f"vms/{name}.a", "pool nopool does not exist; check the name, or make it: ceph osd pool create nopool"
    world.ok("image", "create", image, "4M")
    namespace = f"namespace vms/{name} does not exist; check the name, or make it: rbd namespace create vms/{name}"
    asked = (
        *(
            (5, words, f"image vms/{name}.{n} does not exist; see virtrbd image list vms")
            for n, words in enumerate(
                (
                    ("info", f"vms/{name}.0"),
                    ("resize", f"vms/{name}.1", "8M"),
                    ("remove", f"vms/{name}.2"),
                    ("copy", f"vms/{name}.3", f"vms/{name}.copy"),
                    ("clone", f"vms/{name}.4@s", f"vms/{name}.clone"),
                    ("flatten", f"vms/{name}.5"),
                )
            )
        ),
        (5, ("info", f"{image}@s"), f"snapshot {image}@s does not exist; {image} has none"),
        (5, ("export", f"{image}@s", "x.raw"), f"snapshot {image}@s does not exist; {image} has none"),
        (5, ("snapshot", "remove", f"{image}@s"), f"snapshot {image}@s does not exist; {image} has none"),
        # Not the image that a removal beside it holds the lock of.
        (5, ("restore", f"{image}6"), f"image {image}6 is not in the trash; see virtrbd image trash list vms"),
        (78, ("create", f"vms/{name}/a", "4M"), namespace),
        (78, ("list", f"vms/{name}"), namespace),
        (78, ("info", f"vms/{name}/a"), namespace),
        (78, ("trash", "list", f"vms/{name}"), namespace),
        (78, ("info", "nopool/a"), pool),
        (78, ("create", "nopool/a", "4M"), pool),
        (78, ("create", f"vms/{name}.b", "4M", "--data-pool", "nopool"), pool),
        (78, ("list", "nopool"), pool),
    )
    with ThreadPoolExecutor(3) as threads:
        ended = list(threads.map(lambda each: world.virtrbd("image", *each[1]), asked))
    for (code, words, message), done in zip(asked, ended, strict=True):
        assert (done.returncode, done.stderr) == (code, f"{message}\n"), words
    assert world.intents(name) == [], "what was not made leaves no intent"
    world.forget(name)


def test_a_namespace_is_a_room_of_its_own(world: LabWorld, name: str, sources: Sources) -> None:
    image = f"vms/{name}/a"
    world.host.ok("rbd", "namespace", "create", f"vms/{name}", admin=True)
    world.ok("image", "import", str(sources.file), image, "--verify")
    assert [row["name"] for row in world.document("image", "list", f"vms/{name}")["images"]] == [image]
    world.ok("image", "export", image, "out.raw")
    assert (world.host.folder / "out.raw").read_bytes() == sources.file_content
    world.ok("image", "copy", image, f"vms/{name}/b")
    assert world.document("image", "usage", f"vms/{name}")["total_used_bytes"] == 2 * 6 * MIB
    for verb in (("list",), ("usage",), ("unreferenced",), ("trash", "list"), ("trash", "purge", "--plan")):
        said = world.virtrbd("image", *verb, "vms").stderr
        assert f"vms/{name}" in said, "what a pool alone leaves out is named"
        assert said.startswith("not looked at: "), said
    world.ok("image", "remove", image)
    [gone] = world.document("image", "trash", "list", f"vms/{name}")["trash"]
    assert (gone["name"], gone["size_bytes"]) == (image, 6 * MIB)
    assert "6 MiB" in world.ok("image", "trash", "list", f"vms/{name}")
    assert world.ok("image", "restore", image) == f"{image}: restored\n"
    for each in (image, f"vms/{name}/b"):
        world.ok("image", "remove", "--now", "--allow", "loses-data", each)
    world.host.ok("rbd", "namespace", "remove", f"vms/{name}", admin=True)


def test_names_go_through_qemu_img_as_they_are(world: LabWorld, name: str, sources: Sources) -> None:
    odd = [f"{name}.{each}" for each in ("two words", "back\\slash", "a=b,c", "#?%\"'", "ü")]

    def check(image: str) -> None:
        world.ok("image", "import", str(sources.file), f"vms/{image}", "--verify")
        world.ok("image", "copy", f"vms/{image}", f"vms/{image}2")
        file = world.host.folder / f"{odd.index(image)}.raw"
        world.ok("image", "export", f"vms/{image}2", file.name)
        assert file.read_bytes() == sources.file_content

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(check, odd))
    assert world.images(name) == sorted([*odd, *(f"{image}2" for image in odd)])
    world.forget(name)


def test_on_a_terminal_there_is_a_bar_with_rate_and_time(world: LabWorld, name: str, sources: Sources) -> None:
    command = [sys.executable, "-m", "virtrbd", "image", "import", str(sources.file), f"vms/{name}.a"]
    done = subprocess.run(
        on_a_terminal(command), env={**world.env, "TERM": "xterm", "COLUMNS": "100"},
        capture_output=True, text=True, check=False, timeout=50, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "6.0/6.0 MiB" in done.stdout
    assert done.stdout.rstrip().endswith(f"vms/{name}.a: imported from {sources.file} (6 MiB)"), "the bar is gone"
    world.forget(name)


def test_a_terminal_is_no_disk_to_import(world: LabWorld, name: str) -> None:
    command = [sys.executable, "-m", "virtrbd", "image", "import", "-", f"vms/{name}.a"]
    done = subprocess.run(
        on_a_terminal(command), env=world.env, capture_output=True, text=True, check=False,
        timeout=50,
    )  # fmt: skip
    assert done.returncode == 64
    assert "standard input is a terminal; pipe raw data into it, or name a file" in done.stdout
