"""What a file or an image looks like is not what it is: nothing in it leads to a file of the host."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import rbd
from support.sources import as_disk
from support.waiting import eventually, remove_image
from support.worlds import MIB, LabWorld, Sources

SECRET = b"what only root may read " * 20


@contextmanager
def loop_device(file: Path) -> Iterator[str]:
    done = subprocess.run(["losetup", "--find", "--show", file], capture_output=True, text=True, check=True)
    device = done.stdout.strip()
    try:
        yield device
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


@pytest.fixture
def secret(world: LabWorld, name: str) -> Path:
    file = world.host.folder / f"{name}.secret"
    file.write_bytes(SECRET.ljust(MIB, b"\0"))
    return file


def test_an_image_that_looks_like_a_qcow2_is_copied_and_exported_as_it_is(
    world: LabWorld, name: str, secret: Path
) -> None:
    """A guest can write to its disk what it likes: a header, say, with a backing file on the host."""
    header = world.host.folder / f"{name}.header"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(secret), str(header), "1M"], check=True
    )
    world.ok("image", "create", f"vms/{name}.a", "8M")
    with rbd.Image(world.vms, f"{name}.a") as image:
        image.write(header.read_bytes(), 0)
    content = world.content(f"{name}.a")
    world.ok("image", "copy", f"vms/{name}.a", f"vms/{name}.b")
    assert world.content(f"{name}.b") == content
    for file_format in ("raw", "qcow2"):
        file = world.host.folder / f"{name}.{file_format}"
        world.ok("image", "export", f"vms/{name}.a", str(file), "--format", file_format, "--verify")
        back = world.host.folder / f"{name}.{file_format}.back"
        subprocess.run(["qemu-img", "convert", "-f", file_format, "-O", "raw", str(file), str(back)], check=True)
        assert back.read_bytes() == content
    world.forget(name)


def test_a_file_is_imported_as_what_it_is_said_to_be(world: LabWorld, name: str, sources: Sources) -> None:
    """A raw disk may begin like a qcow2, and a qcow2 may be wanted byte by byte."""
    file = world.host.folder / f"{name}.qcow2"
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", str(sources.file), str(file)], check=True)
    world.ok("image", "import", "--format", "raw", "--verify", str(file), f"vms/{name}.raw")
    assert world.content(f"{name}.raw").startswith(file.read_bytes())
    world.ok("image", "import", "--format", "qcow2", "--verify", str(file), f"vms/{name}.qcow2")
    assert world.content(f"{name}.qcow2") == sources.file_content
    wrong = world.virtrbd("image", "import", "--format", "vdi", str(file), f"vms/{name}.vdi")
    assert (wrong.returncode, wrong.stdout) == (65, "")
    assert wrong.stderr == f"{file}: is not a vdi file; leave out --format, or name the right format\n"
    piped = world.virtrbd("image", "import", "--format", "qcow2", "-", f"vms/{name}.pipe")
    assert piped.returncode == 64, piped
    assert world.images(name) == [f"{name}.qcow2", f"{name}.raw"]
    world.forget(name)


def test_a_block_device_is_raw_unless_said_otherwise(world: LabWorld, name: str, sources: Sources) -> None:
    """What a guest wrote to it may look like a qcow2, with a backing file on the host."""
    file = world.host.folder / f"{name}.qcow2"
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", str(sources.file), str(file)], check=True)
    with loop_device(file) as device:
        world.ok("image", "import", "--verify", device, f"vms/{name}.raw")
        world.ok("image", "import", "--verify", "--format", "qcow2", device, f"vms/{name}.qcow2")
    assert world.content(f"{name}.raw").startswith(file.read_bytes()[:MIB])
    assert world.content(f"{name}.qcow2") == sources.file_content
    world.forget(name)


def test_a_vmdk_that_names_another_file_is_refused(world: LabWorld, name: str, secret: Path) -> None:
    file = world.host.folder / f"{name}.vmdk"
    file.write_text(
        '# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType="monolithicFlat"\n'
        f'RW 2048 FLAT "{secret}" 0\nddb.adapterType = "ide"\n'
    )
    done = world.virtrbd("image", "import", str(file), f"vms/{name}.a")
    assert done.returncode == 5, done
    assert done.stderr == f"{file}: refers to {secret}; flatten it first with qemu-img convert, where it was made\n"
    assert world.images(name) == []


def test_a_file_that_was_cut_short_is_no_golden_image(world: LabWorld, name: str, sources: Sources) -> None:
    whole, cut = (world.host.folder / f"{name}.{word}.qcow2" for word in ("whole", "cut"))
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", str(sources.file), str(whole)], check=True)
    cut.write_bytes(whole.read_bytes()[: MIB // 2])
    done = world.virtrbd("image", "import", str(cut), f"vms/{name}.a", "--as-base")
    assert (done.returncode, done.stdout) == (65, "")
    assert done.stderr.startswith(f"{cut}: is damaged or cut short: ERROR: counting reference for region"), done
    assert done.stderr.endswith("; get the file again\n")
    assert len(done.stderr.splitlines()) == 1
    assert world.images(name) == []
    world.ok("image", "import", str(whole), f"vms/{name}.a", "--verify")
    assert world.content(f"{name}.a") == sources.file_content
    world.forget(name)


def test_only_the_very_same_import_is_taken_for_done(world: LabWorld, name: str, sources: Sources) -> None:
    other = world.host.folder / f"{name}.other"
    other.write_bytes(as_disk(bytes(len(sources.file_content))))
    words = ("image", "import", str(sources.file), f"vms/{name}.a")
    code, steps = world.run_killed(6, "before", *words)
    assert code == -9
    assert steps[-1].endswith("intent unlink"), steps
    for another in (("image", "import", str(other), f"vms/{name}.a"), (*words, "--as-base"), (*words, "--verify")):
        done = world.virtrbd(*another)
        assert (done.returncode, done.stdout) == (5, ""), another
        assert done.stderr == f"image vms/{name}.a exists; name another one, or remove it\n"
    world.ok(*words)
    assert world.content(f"{name}.a") == sources.file_content
    world.forget(name)


def test_an_image_is_not_restored_while_it_is_purged(world: LabWorld, name: str) -> None:
    image = f"vms/{name}.a"
    world.ok("image", "create", image, "4M")
    world.ok("image", "remove", image, "--delay", "0s")
    [entry] = [each for each in rbd.RBD().trash_list(world.vms) if each["name"] == f"{name}.a"]
    command = [sys.executable, "-m", "virtrbd", "image", "trash", "purge", "vms"]
    with rbd.Image(world.vms, image_id=entry["id"]):
        run = subprocess.Popen(
            command, env=world.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert run.stderr
        assert "is open by" in run.stderr.readline(), "it waits for the client"
        refused = world.virtrbd("image", "restore", image)
        assert refused.returncode == 75, refused
    out, err = run.communicate(timeout=40)
    assert f"{image}: removed for good" in out, (out, err)
    assert world.images(name) == []


def test_ctrl_c_under_many_clones_ends_with_130(world: LabWorld, name: str) -> None:
    world.ok("image", "create", f"vms/{name}.base", "4M")
    world.ok("image", "snapshot", "create", f"vms/{name}.base@s", "--protect")
    clones = [f"vms/{name}.c{number}" for number in range(60)]
    command = [sys.executable, "-m", "virtrbd", "image", "clone", f"vms/{name}.base@s", *clones]
    run = subprocess.Popen(
        command, env=world.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    eventually("the first clone is there", lambda: len(world.images(name)) > 1)
    os.kill(run.pid, signal.SIGINT)
    _, err = run.communicate(timeout=40)
    assert run.returncode == 130, err
    begun = set(world.images(name)) - {f"{name}.base"}
    assert begun < {clone.removeprefix("vms/") for clone in clones}, "some were made, not all"
    # The same command again makes the rest, and says which were there.
    done = world.document(*command[3:])
    assert "errors" not in done, done
    assert done["images"] == clones
    assert {each.removeprefix("vms/") for each in done["already_there"]} <= begun
    assert world.document(*command[3:])["already_there"] == clones
    for image in world.images(name):
        if not image.endswith(".base"):
            remove_image(world.vms, image)
    world.ok("image", "snapshot", "remove", f"vms/{name}.base@s", "--clear")
    world.forget(name)
