"""kill -9 at any step of `define`: the next `define` finishes, with nothing lost and nothing doubled."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import libvirt
import pytest
import rbd
from support.sources import as_disk
from support.waiting import eventually
from support.worlds import MIB, WHEN, LabWorld, Sources, argvs, importer, is_partly_filled

from virtrbd.local.state_dir import StateDir
from virtrbd.model.image import ImageRef, Intent


@dataclass(frozen=True, slots=True, kw_only=True)
class Killed:
    """A domain whose define was killed at a step."""

    name: str
    spec: str
    n: int
    when: str


def kill_at_each_step(world: LabWorld, steps: Sequence[str], killed: Sequence[Killed]) -> None:
    """Kill a `define` of each domain at its step, run it again, and demand that a third run finds nothing to do."""

    def kill_and_finish(one: Killed) -> str:
        code, came = world.run_killed(one.n, one.when, "define", "--start", one.spec)
        assert (code, came) == (-signal.SIGKILL, list(steps[: one.n])), one
        done = world.virtrbd("define", "--start", one.spec)
        is_well = (done.returncode, done.stderr) == (0, allowed_words(done.stderr))
        return "" if is_well else f"{one.when} {steps[one.n - 1]} ({one.n}): {done.returncode}\n{done.stderr}"

    # Many of them wait: for what a killed client still watches.
    with ThreadPoolExecutor(12) as pool:
        troubles = list(pool.map(kill_and_finish, killed))
    assert not any(troubles), "\n".join(filter(None, troubles))
    third = world.virtrbd("define", "--start", *(one.spec for one in killed))
    assert third.stderr == ""
    # What waits for the next boot of a running guest is told each time.
    done = (
        "nothing to do",
        "pending restart: /vcpu: 1 -> 2; takes effect after the guest has been shut down and started",
    )
    assert all(line.partition(": ")[2] in done for line in third.stdout.splitlines()), third.stdout
    assert len(third.stdout.splitlines()) == len(killed)
    assert len(world.secrets()) == 1


def allowed_words(stderr: str) -> str:
    """What a run may say besides what it did: settings left behind, a crashed client waited for."""
    lines = stderr.splitlines(keepends=True)
    return "".join(line for line in lines if "not taken over from its parent" in line or "waiting up to" in line)


def check_domain(world: LabWorld, name: str, contents: dict[str, bytes]) -> None:
    """One domain with that name, running, and exactly these images: its own, ready, with this in them."""
    [domain] = [found for found in world.libvirt.listAllDomains() if found.name() == name]
    assert domain.isActive()
    assert domain.autostart()
    assert world.images(name) == sorted(f"{name}.{target}" for target in contents)
    assert world.intents(name) == []
    for target, content in contents.items():
        with rbd.Image(world.vms, f"{name}.{target}", read_only=True) as image:
            held = dict(image.metadata_list())
            assert sorted(held) == ["virtrbd.last_run", "virtrbd.owner", "virtrbd.running"], (name, target)
            owner = json.loads(held["virtrbd.owner"])
            assert (owner["domain"], owner["image"]) == (domain.UUIDString(), image.id()), (name, target)
            assert image.size() == len(content), (name, target)
            assert image.read(0, image.size()) == content, (name, target)


def forget(world: LabWorld, killed: Sequence[Killed]) -> None:
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda one: world.forget(one.name), killed))


THREE_DISKS = """autostart: true
disks:
  - size: 8M
  - {{clone: {snapshot}, size: 8M}}
  - {{import: {file}, size: 8M}}
"""


@pytest.mark.timeout(180)
@pytest.mark.parametrize("when", WHEN)
def test_a_define_killed_at_any_step_is_finished_by_the_next(
    world: LabWorld, name: str, sources: Sources, when: str
) -> None:
    text = THREE_DISKS.format(snapshot=sources.snapshot, file=sources.file)

    def make(n: int) -> Killed:
        return Killed(name=f"{name}{n}", spec=world.host.spec(f"{name}{n}", text), n=n, when=when)

    whole = make(0)
    code, steps = world.run_killed(0, when, "define", "--start", whole.spec)
    assert code == 0
    assert steps.count("intent rename") == steps.count("intent unlink") == 3
    assert {"RBD.create", "RBD.clone", "qemu-img convert", "write_metadata", "Image.resize"} <= set(steps)
    # Three marks, the state of the import, and what the clone was freed from.
    assert steps.count("write_metadata") == 8
    assert {"virConnect.defineXMLFlags", "virDomain.setMetadata"} <= set(steps)
    assert {"virDomain.setAutostart", "virDomain.create"} <= set(steps)
    # After any other step the world is as before the next one; here an image may still be open, or a child at work.
    ends_open = re.compile("RBD|Image|write_metadata|qemu-img|virDomain.create")
    numbers = [n for n, step in enumerate(steps, 1) if when == "before" or ends_open.match(step)]
    killed = [make(n) for n in numbers]
    try:
        kill_at_each_step(world, steps, killed)
        contents = {
            "vda": bytes(8 * MIB),
            "vdb": sources.snapshot_content + bytes(4 * MIB),
            "vdc": sources.file_content + bytes(2 * MIB),
        }
        for one in killed:
            check_domain(world, one.name, contents)
    finally:
        forget(world, [whole, *killed])


@pytest.mark.timeout(120)
@pytest.mark.parametrize("state", ["shut off", "running"])
def test_a_redefinition_killed_at_any_step_is_finished_by_the_next(world: LabWorld, name: str, state: str) -> None:
    # There is no bridge of that name: a domain that has it can be defined, not started.
    interface = "interfaces:\n  - bridge: br-a\n" if state == "shut off" else ""
    old = f"{interface}disks:\n  - size: 8M\n"
    new = "vcpus: 2\nautostart: true\ndisks:\n  - size: 16M\n"
    steps = ["Image.resize", "virConnect.defineXMLFlags", "virDomain.setMetadata", "virDomain.setAutostart"]
    if state == "running":
        steps[0] = "virDomain.blockResize"
    else:
        steps += ["write_metadata", "virDomain.setMetadata", "virDomain.create"]
    killed = [
        Killed(name=f"{name}{n}{when}", spec=world.host.spec(f"{name}{n}{when}", old), n=n, when=when)
        for n in range(1, len(steps) + 1) for when in WHEN
    ]  # fmt: skip
    data = os.urandom(8 * MIB)
    try:
        done = world.virtrbd("define", *(one.spec for one in killed))
        assert done.returncode == 0, done
        for one in killed:
            with rbd.Image(world.vms, f"{one.name}.vda") as image:
                image.write(data, 0)
        if state == "running":
            done = world.virtrbd("define", "--start", *(one.spec for one in killed))
            assert done.returncode == 0, done
        for one in killed:
            world.host.spec(one.name, new)
        kill_at_each_step(world, steps, killed)
        for one in killed:
            check_domain(world, one.name, {"vda": data + bytes(8 * MIB)})
            xml = world.libvirt.lookupByName(one.name).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
            assert "<interface" not in xml
            assert ">2</vcpu>" in xml
    finally:
        forget(world, killed)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("made", ["new", "rewritten"])
def test_a_seed_killed_at_a_step_is_written_by_the_next(world: LabWorld, name: str, made: str) -> None:
    """The next run wants the old seed where there was one: the new one may be in its place, unvouched for."""
    old, new = (f"disks:\n  - size: 8M\ncloud_init: {{user_data: '#{word}'}}\n" for word in ("old", "new"))
    # How an image is made is killed at every step above: of that, one that leaves it unmarked is enough.
    steps = ["intent rename", "RBD.create", "write_metadata", "intent unlink", "Image.write", "Image.metadata_set"]
    at = [(3, "before"), (5, "before"), (5, "after"), (6, "before")]
    if made == "rewritten":
        steps, at = ["Image.metadata_remove", *steps[4:]], [(2, "before"), (2, "after"), (3, "after")]
    killed = [Killed(name=f"{name}{n}{when}", spec=f"{name}{n}{when}.yaml", n=n, when=when) for n, when in at]

    def kill_and_finish(one: Killed) -> None:
        disks_first = 4 if made == "new" else 0
        world.host.spec(one.name, new)
        code, came = world.run_killed(disks_first + one.n, one.when, "define", one.spec)
        assert (code, came[disks_first:]) == (-signal.SIGKILL, steps[: one.n]), one
        if made == "rewritten":
            world.host.spec(one.name, old)
        done = world.virtrbd("define", one.spec)
        assert (done.returncode, done.stderr) == (0, allowed_words(done.stderr)), (one, done)

    try:
        if made == "rewritten":
            done = world.virtrbd("define", *(world.host.spec(one.name, old) for one in killed))
            assert done.returncode == 0, done
        with ThreadPoolExecutor(12) as pool:
            list(pool.map(kill_and_finish, killed))
        for one in killed:
            assert world.intents(one.name) == []
            with rbd.Image(world.vms, f"{one.name}.seed", read_only=True) as image:
                assert sorted(dict(image.metadata_list())) == ["virtrbd.owner", "virtrbd.seed"], one
                content = image.read(0, image.size())
            assert (b"#new" in content, b"#old" in content) == (made == "new", made == "rewritten"), one
        third = world.virtrbd("define", *(one.spec for one in killed))
        assert sorted(third.stdout.splitlines()) == sorted(f"{one.name}: nothing to do" for one in killed)
    finally:
        forget(world, killed)


# The secret is for all domains of the host.
@pytest.mark.alone
@pytest.mark.timeout(120)
def test_a_secret_killed_at_any_step_is_finished_by_the_next(make_world: Callable[[str], LabWorld], name: str) -> None:
    world = make_world("kvm-2")
    text = "autostart: true\ndisks:\n  - size: 8M\n"
    killed = [
        Killed(name=f"{name}{n}{when}", spec=world.host.spec(f"{name}{n}{when}", text), n=n, when=when)
        for n in range(1, 4) for when in WHEN
    ]  # fmt: skip
    steps = ["virConnect.secretDefineXML", "virSecret.setValue", "virConnect.secretDefineXML"]
    try:
        # One by one: there is one secret for all.
        for one in killed:
            for secret in world.secrets():
                secret.undefine()
            kill_at_each_step(world, steps, [one])
            # It runs, so libvirt could give QEMU the key.
            check_domain(world, one.name, {"vda": bytes(8 * MIB)})
    finally:
        forget(world, killed)


@pytest.mark.timeout(120)
def test_an_image_import_killed_at_any_step_is_made_anew_or_done(world: LabWorld, name: str, sources: Sources) -> None:
    steps = ["intent rename", "RBD.create", "write_metadata", "qemu-img convert", "write_metadata", "intent unlink"]

    def kill_and_finish(n: int, when: str) -> None:
        image = f"{name}.{n}{when}"
        code, came = world.run_killed(n, when, "image", "import", str(sources.file), f"vms/{image}")
        assert (code, came) == (-signal.SIGKILL, steps[:n])
        done = world.virtrbd("image", "import", str(sources.file), f"vms/{image}")
        is_done = (n, when) == (len(steps), "after")
        assert done.returncode == (5 if is_done else 0), (n, when, done)
        assert "exists" in done.stderr or not is_done
        with rbd.Image(world.vms, image, read_only=True) as opened:
            assert [key for key, _ in opened.metadata_list()] == ["virtrbd.owner"]
        assert world.content(image) == sources.file_content

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda at: kill_and_finish(*at), [(n, when) for n in range(1, len(steps) + 1) for when in WHEN]))
    world.forget(name)


@pytest.mark.timeout(120)
def test_qemu_img_dies_with_virtrbd_and_the_next_define_imports_anew(world: LabWorld, lab: Path, name: str) -> None:
    file, content = world.host.folder / "big.raw", as_disk(os.urandom(128 * MIB))
    file.write_bytes(content)
    spec = world.host.spec(name, f"disks:\n  - import: {file}\n")
    qemu_img = None
    with subprocess.Popen(
        [sys.executable, "-m", "virtrbd", "define", spec], env=world.env, cwd=world.host.folder,
        stdin=subprocess.DEVNULL,
    ) as virtrbd:  # fmt: skip
        try:
            eventually("qemu-img runs", lambda: importer(name) is not None)
            qemu_img = importer(name)
            assert qemu_img
            eventually("something was imported", lambda: is_partly_filled(world, f"{name}.vda"))
            # Stopped, it surely is in the middle; what is stopped can be killed as well.
            os.kill(qemu_img, signal.SIGSTOP)
            assert virtrbd.poll() is None
            [key] = re.findall(r"key\s*=\s*(\S+)", (lab / "ceph/client.virtrbd.keyring").read_text())
            seen = argvs()
            assert {virtrbd.pid, qemu_img} <= set(seen)
            assert not [argv for argv in seen.values() if key.encode() in argv]
            virtrbd.kill()
            virtrbd.wait()
            eventually("qemu-img is dead", lambda: qemu_img not in argvs(), within_s=5)
        finally:
            virtrbd.kill()
            if qemu_img in argvs():
                os.kill(qemu_img, signal.SIGKILL)
    done = world.virtrbd("define", spec)
    assert done.returncode == 0, done
    assert f"{name}: remove half-made image vms/{name}.vda\n" in done.stdout
    assert world.content(f"{name}.vda") == content
    assert world.virtrbd("define", spec).stdout == f"{name}: nothing to do\n"


def test_an_intent_on_its_way_is_never_that_of_another_image(tmp_path: Path) -> None:
    state = StateDir(str(tmp_path))
    intents = [
        Intent(ref=ImageRef(pool="vms", name=name), domain_uuid="", size_bytes=1, parent=None, nonce=name, written_at=0)
        for name in ("x.new", "x.vda", "x", "x.vdb")
    ]
    for intent in intents:
        state.write_intent(intent)
    assert [state.read_intent(intent.ref) for intent in intents] == intents
