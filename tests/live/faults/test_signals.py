"""A command that a signal ends: what it made is whole or gone, and run again it is done."""

import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import rbd
from support.worlds import CRASHING, MIB, LabWorld, Sources

from virtrbd.local.state_dir import StateDir
from virtrbd.model.image import ImageRef, Intent

NOWHERE = ("--connect", "qemu:///system?socket=/nonexistent/libvirt-sock")
ENDED = "virtrbd: terminated; run again to finish what was begun"
GOES = ("--now", "--clear", "--allow", "loses-data")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """A verb that makes the image named last, what it holds then, and how many steps it takes."""

    words: tuple[str, ...]
    content: bytes
    steps: int


def ended(world: LabWorld, n: int, name: str, *words: str) -> tuple[int, str]:
    """Run virtrbd, ended by SIGTERM right after its n-th step."""
    log = world.host.folder / f"{name}.{n}.steps"
    program = ("-c", CRASHING.replace("signal.SIGKILL", "signal.SIGTERM"), str(n), "after", str(log))
    done = world.virtrbd(*words, program=program)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.timeout(180)
def test_what_sigterm_leaves_after_any_step_is_whole_or_gone(world: LabWorld, name: str, sources: Sources) -> None:
    verbs = {
        "create": Verb(words=("create", "IMAGE", "8M"), content=bytes(8 * MIB), steps=4),
        "clone": Verb(words=("clone", sources.snapshot, "IMAGE"), content=sources.snapshot_content, steps=5),
        "import": Verb(words=("import", str(sources.file), "IMAGE"), content=sources.file_content, steps=6),
    }

    def end(verb: Verb, n: int, image: str) -> str:
        words = ("image", *(f"vms/{image}" if word == "IMAGE" else word for word in verb.words))
        code, said = ended(world, n, image, *words)
        is_there = image in rbd.RBD().list(world.vms)
        whole = is_there and world.image(image)["state"] == "ready" and world.content(image) == verb.content
        again = world.virtrbd(*words)
        facts = (code, ENDED in said, is_there == whole, again.returncode, world.content(image) == verb.content)
        # Behind its answer nothing is ended any more; before it, the next run says that the work is done.
        if facts == (0, False, True, 5, True) and "exists" in again.stderr:
            return ""
        is_said = "already there" in again.stdout if is_there else "already there" not in again.stdout
        return "" if facts == (143, True, True, 0, True) and is_said else f"{words}: {n}: {facts}: {said}: {again}"

    trials = [(verb, n, f"{name}.{word}{n}") for word, verb in verbs.items() for n in range(1, verb.steps + 1)]
    with ThreadPoolExecutor(3) as pool:
        wrong = [fact for fact in pool.map(lambda trial: end(*trial), trials) if fact]
    assert wrong == []
    world.forget(name)


def test_a_clone_that_has_no_parent_yet_is_shown_as_half_made_and_used_by_no_verb(
    world: LabWorld, name: str, sources: Sources
) -> None:
    """So a kill inside librbd's clone leaves it: it would read as zeroes."""
    clone, parent = ImageRef.parse(f"vms/{name}.a"), ImageRef.parse(sources.snapshot)
    intent = Intent(
        ref=clone, domain_uuid="", size_bytes=4 * MIB, parent=parent, nonce="n" * 32, written_at=time.time()
    )
    StateDir(str(world.state)).write_intent(intent)
    rbd.RBD().create(world.vms, clone.name, 4 * MIB, old_format=False)
    assert world.image(clone.name)["state"] == "half-made"
    [listed] = [each for each in world.document("image", "list")["images"] if each["name"] == str(clone)]
    assert listed["state"] == "half-made"
    for words in (
        ("export", str(clone), "out.raw"), ("copy", str(clone), f"{clone}.b"), ("snapshot", "create", f"{clone}@s"),
        ("resize", str(clone), "8M"), ("flatten", str(clone)),
    ):  # fmt: skip
        refused = world.virtrbd("image", *words)
        assert refused.returncode == 5, (words, refused)
        assert f"image {clone} is not ready: half-made; run the command that made it again" in refused.stderr, words
    spec = world.host.spec(name, f"disks:\n  - image: {clone}\n    existing: true\n")
    assert "is not ready: half-made" in world.virtrbd("define", spec).stderr
    made = world.host.spec(name, f"disks:\n  - image: {clone}\n    clone: {parent}\n")
    world.ok("define", made)
    assert world.image(clone.name)["parents"] == [str(parent)], "another verb's half image is made again"
    assert world.content(clone.name) == sources.snapshot_content
    world.forget(name)


def test_what_was_cut_off_between_two_steps_is_finished_by_the_same_command(
    world: LabWorld, name: str, sources: Sources
) -> None:
    world.ok("define", world.host.spec(name, "disks:\n  - size: 8M\n"))
    code, steps = world.run_killed(1, "after", "undefine", "--trash-images", "--allow", "loses-data", name)
    assert (code, steps[-1].startswith("virDomain.undefine")) == (-signal.SIGKILL, True)
    assert world.images(name) == [f"{name}.vda"], "the domain is gone, and its image is not"
    done = world.ok("undefine", "--trash-images", name)
    assert (done, world.images(name)) == (f"{name}: moved image vms/{name}.vda to the trash for 14 days\n", [])
    world.ok("image", "clone", sources.snapshot, f"vms/{name}.c")
    code, steps = world.run_killed(1, "after", "image", "flatten", f"vms/{name}.c")
    assert (code, steps) == (-signal.SIGKILL, ["Image.flatten"])
    assert world.image(f"{name}.c")["flags"] == ["object map invalid", "fast diff invalid"]
    assert world.ok("image", "flatten", f"vms/{name}.c") == f"vms/{name}.c: flattened\n"
    assert world.image(f"{name}.c")["flags"] == []
    world.ok("image", "remove", *GOES, f"vms/{name}.c")


# virtrbd, but Ceph does not answer when a guest was ended.
SILENT = """
from virtrbd.__main__ import main
import virtrbd.engine.power
from virtrbd.errors import UnavailableError
def silent(*_, **__):
    raise UnavailableError("Ceph: no answer")
virtrbd.engine.power.note_clean_stop = silent
main()
"""


def test_a_destroy_that_ceph_cuts_off_says_that_the_guest_was_ended(world: LabWorld, name: str) -> None:
    world.ok("define", "--start", world.host.spec(name, "disks:\n  - size: 8M\n"))
    cut = world.virtrbd("destroy", "--allow", "interrupts-guest", name, program=("-c", SILENT))
    assert cut.returncode == 69
    said, why = cut.stderr.splitlines()
    assert said.startswith(f"{name}: the guest was ended; virtrbd shutdown {name} records"), said
    assert why == "Ceph: no answer", "something was begun"
    assert not world.libvirt.lookupByName(name).isActive()
    world.ok("shutdown", name)
    world.forget(name)


def test_without_libvirt_nothing_is_offered_that_only_libvirt_could_say(world: LabWorld, name: str) -> None:
    """And what is made meanwhile gets its mark from the next run."""
    image = f"vms/{name}.a"
    world.ok(*NOWHERE, "image", "create", image, "8M")
    for words in (("resize", image, "16M"), ("remove", image)):
        refused = world.virtrbd(*NOWHERE, "image", *words)
        assert refused.returncode == 69, (words, refused)
        assert "libvirt does not answer here" in refused.stderr
        assert refused.stderr.endswith("nothing was begun\n")
        assert "takes-over" not in refused.stderr
    world.ok("image", "resize", image, "8M")
    assert world.image(f"{name}.a")["owner_host"], "the run that found libvirt marked it"
    assert world.virtrbd(*NOWHERE, "image", "flatten", image).returncode == 69
    world.ok("image", "remove", *GOES, image)


def test_render_waits_for_no_libvirt_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a libvirtd that hangs, the socket takes connections and says nothing."""
    (tmp_path / "settings.yaml").write_text(f"host: kvm-1\nstate_dir: {tmp_path}/state\n")
    (tmp_path / "web.yaml").write_text("name: web\nmemory: 128M\ndisks:\n  - size: 1G\n")
    monkeypatch.setenv("VIRTRBD_CONFIG", str(tmp_path / "settings.yaml"))
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "libvirt"))
        silent.listen()
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "virtrbd", "--connect", f"qemu:///system?socket={tmp_path}/libvirt", "render",
             "web.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=50,
        )  # fmt: skip
    assert (done.returncode, "<name>web</name>" in done.stdout) == (0, True), done
    assert time.monotonic() - began < 15
