"""Ceph stops, fills up, or somebody ends the run: every image verb ends in time, says why, and leaves nothing half."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import rbd
from support.lab import LabHost
from support.operators import CEPH_S, ENDS_WITHIN_S, Operator, operator_of, pid_of, unpause
from support.sources import as_disk
from support.transfers import full, in_the_middle
from support.waiting import eventually
from support.worlds import MIB, LabWorld, Sources

# It disturbs what all tests share.
pytestmark = pytest.mark.alone


TRANSFER_S = 3
# What a transfer that stalls may take besides: it is looked at once a second, and what is half is to be removed.
STALLS_WITHIN_S = TRANSFER_S + CEPH_S + 1 + ENDS_WITHIN_S
GOES = ("--now", "--clear", "--allow", "loses-data")


@pytest.fixture
def hasty(host: LabHost) -> Operator:
    """An operator whose transfers may stall for a moment only."""
    return operator_of(host).with_settings(
        "hasty", lambda text: text.replace("timeouts:\n", f"timeouts:\n  transfer: {TRANSFER_S}\n")
    )


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """A file whose import takes a while."""
    file = tmp_path / "big.raw"
    file.write_bytes(as_disk(os.urandom(96 * MIB)))
    return file


def trashed(world: LabWorld, name: str) -> list[str]:
    return [each["name"] for each in rbd.RBD().trash_list(world.vms) if each["name"].startswith(name)]


def state_of(world: LabWorld, image: str) -> str:
    return str(world.image(image)["state"])


@pytest.mark.timeout(120)
def test_a_paused_osd_in_the_middle_of_an_import_ends_it_in_time(
    world: LabWorld, name: str, hasty: Operator, big: Path, host: LabHost
) -> None:
    image = f"{name}.a"
    with in_the_middle(world, hasty, image, "import", str(big), f"vms/{image}") as transfer:
        host.ok("ceph", "osd", "pause", admin=True)
        began_at = time.monotonic()
        try:
            transfer.go_on()
            code, said = transfer.end()
        finally:
            unpause(host)
        assert time.monotonic() - began_at < STALLS_WITHIN_S
    assert code == 69, said
    assert f"importing {big} into vms/{image}: no progress for 3 s; check `ceph status`, then run again" in said
    # Ceph could not be told to remove it: it is not ready, and nothing uses it, until the next run makes it anew.
    assert state_of(world, image).startswith("importing ")
    refused = world.virtrbd("image", "export", f"vms/{image}", "out.raw")
    assert (refused.returncode, "is not ready: importing" in refused.stderr) == (5, True)
    world.ok("image", "import", str(big), f"vms/{image}")
    assert world.content(image) == big.read_bytes()
    assert world.intents(name) == []
    world.forget(name)


@pytest.mark.timeout(120)
def test_a_stopped_monitor_in_the_middle_of_an_import_ends_it_in_time(
    world: LabWorld, name: str, hasty: Operator, big: Path
) -> None:
    image, mon = f"{name}.a", pid_of("mon")
    with in_the_middle(world, hasty, image, "import", str(big), f"vms/{image}") as transfer:
        os.kill(mon, signal.SIGSTOP)
        began_at = time.monotonic()
        try:
            code, said = transfer.end()
        finally:
            os.kill(mon, signal.SIGCONT)
        assert time.monotonic() - began_at < STALLS_WITHIN_S
    assert code == 69, said
    assert re.search("no answer (within 3 s|in time)|no progress for 3 s", said), said
    world.ok("image", "import", str(big), f"vms/{image}")
    assert world.content(image) == big.read_bytes()
    world.forget(name)


@pytest.mark.timeout(120)
def test_every_verb_ends_in_time_when_the_osd_is_paused(
    world: LabWorld, name: str, hasty: Operator, host: LabHost
) -> None:
    made = {letter: f"vms/{name}.{letter}" for letter in "abcdef"}
    for image in made.values():
        world.ok("image", "create", image, "8M")
    world.ok("image", "snapshot", "create", "--protect", f"{made['a']}@s1")
    world.ok("image", "snapshot", "create", f"{made['c']}@s1")
    world.ok("image", "remove", made["f"])
    verbs = (
        ("create", f"vms/{name}.new", "8M"),
        ("resize", made["b"], "16M"),
        ("list",),
        ("usage",),
        ("clone", f"{made['a']}@s1", f"vms/{name}.clone"),
        ("copy", made["a"], f"vms/{name}.copy"),
        ("export", made["a"], "out.raw"),
        ("snapshot", "list", made["a"]),
        ("snapshot", "rollback", "--allow", "loses-data", f"{made['c']}@s1"),
        ("flatten", made["d"]),
        ("remove", made["e"]),
        ("restore", made["f"]),
        ("trash", "list"),
        ("trash", "purge"),
        ("unreferenced",),
    )
    host.ok("ceph", "osd", "pause", admin=True)
    try:
        with ThreadPoolExecutor(len(verbs)) as pool:
            ended = list(pool.map(lambda words: hasty.run("image", *words), verbs))
    finally:
        unpause(host)
    for words, end in zip(verbs, ended, strict=True):
        assert end.code == 69, (words, end)
        assert "Traceback" not in end.err, (words, end)
        assert re.search(r"Ceph: [a-z].*: no answer (within 3 s|in time)", end.err), (words, end)
        # They begin together on two cores.
        assert end.took_s < 2 * ENDS_WITHIN_S, (words, end)
    assert not (host.folder / "out.raw").exists()
    # What was asked for may have come to pass after all, or is done by the next run.
    for words in (verbs[0], verbs[4], verbs[5]):
        done = world.virtrbd("image", *words)
        assert done.returncode == 0 or f"image {words[-1] if words[0] != 'create' else words[1]} exists" in done.stderr
    world.ok("image", "remove", *GOES, made["a"])
    world.ok("image", "remove", *GOES, made["c"])
    world.ok("image", "trash", "purge", "--now", "--allow", "loses-data")
    world.forget(name)


@pytest.mark.timeout(120)
def test_a_full_pool_ends_an_import_with_its_quota_and_leaves_nothing(
    world: LabWorld, name: str, operator: Operator, big: Path
) -> None:
    world.ok("image", "import", str(big), f"vms/{name}.old")
    by_file, by_pipe = f"{name}.file", f"{name}.pipe"
    said_full = "pool vms is full (quota 4 KiB); free space in it, or raise the limit, then run again"
    pipe = subprocess.Popen(
        [sys.executable, "-m", "virtrbd", "image", "import", "-", f"vms/{by_pipe}"], env=operator.env,
        cwd=operator.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert pipe.stdin is not None
        pipe.stdin.write(as_disk(os.urandom(33 * MIB)))
        with (
            in_the_middle(world, operator, by_file, "import", str(big), f"vms/{by_file}") as transfer,
            full(world.host),
        ):
            began_at = time.monotonic()
            transfer.go_on()
            with suppress(BrokenPipeError):
                pipe.stdin.write(os.urandom(64 * MIB))
            code, said = transfer.end()
            assert (code, said_full in said) == (5, True), said
            _, err = pipe.communicate(timeout=50)
            assert (pipe.returncode, said_full in err.decode()) == (5, True), err
            assert time.monotonic() - began_at < 2 * STALLS_WITHIN_S
            # Before: nothing is begun, and no intent is written.
            for words in (
                ("import", str(big), f"vms/{name}.new"),
                ("create", f"vms/{name}.new", "8M"),
                ("copy", f"vms/{name}.old", f"vms/{name}.new"),
            ):
                end = operator.run("image", *words)
                assert (end.code, end.err) == (5, f"{said_full}\n"), end
                assert end.took_s < ENDS_WITHIN_S
            assert world.images(name) == [f"{name}.old"], "nothing half-made is left under its name"
            assert world.intents(name) == []
            # To remove is what helps, and it works.
            end = operator.run("image", "remove", *GOES, f"vms/{name}.old")
            assert (end.code, end.out) == (0, f"vms/{name}.old: removed for good\n"), end
    finally:
        pipe.kill()
        pipe.wait()
    world.ok("image", "trash", "purge", "--now", "--allow", "loses-data")
    assert trashed(world, name) == []


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("golden")
def test_a_full_data_pool_is_named_and_nothing_half_is_left(
    world: LabWorld, name: str, operator: Operator, big: Path
) -> None:
    """The image's own pool has room; what holds its data has none."""
    image, data = f"{name}.a", ("--data-pool", "golden")
    said_full = "pool golden is full (quota 4 KiB); free space in it, or raise the limit, then run again"
    with (
        in_the_middle(world, operator, image, "import", str(big), f"vms/{image}", *data) as transfer,
        full(world.host, "golden"),
    ):
        began_at = time.monotonic()
        transfer.go_on()
        code, said = transfer.end()
        assert (code, said_full in said) == (5, True), said
        assert time.monotonic() - began_at < STALLS_WITHIN_S
        end = operator.run("image", "create", f"vms/{name}.b", "8M", *data)
        assert (end.code, end.err) == (5, f"{said_full}\n"), end
        assert world.images(name) == [], "nothing half-made is left under its name"
        assert world.intents(name) == []
    world.ok("image", "trash", "purge", "--now", "--allow", "loses-data")
    assert trashed(world, name) == []
    world.ok("image", "import", "--verify", str(big), f"vms/{image}", *data)
    world.forget(name)


@pytest.mark.timeout(120)
def test_ctrl_c_and_sigterm_leave_nothing_under_the_final_name(world: LabWorld, name: str, big: Path) -> None:
    source = f"vms/{name}.source"
    world.ok("image", "import", str(big), source)
    operator = operator_of(world.host)

    def interrupt(verb: str, how: signal.Signals) -> tuple[str, int, str]:
        image = f"{name}.{verb}{how.value}"
        what = str(big) if verb == "import" else source
        with in_the_middle(world, operator, image, verb, what, f"vms/{image}") as transfer:
            transfer.virtrbd.send_signal(how)
            return image, *transfer.end()

    ways = [(verb, how) for verb in ("import", "copy") for how in (signal.SIGINT, signal.SIGTERM)]
    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda way: interrupt(*way), ways))
    for (_, how), (image, code, said) in zip(ways, ended, strict=True):
        word, expected = ("interrupted", 130) if how == signal.SIGINT else ("terminated", 143)
        assert code == expected, said
        assert f"virtrbd: {word}; run again to finish what was begun" in said
        assert f"image vms/{image}: removing what was begun of it" in said
    assert world.images(name) == [f"{name}.source"]
    assert world.intents(name) == []
    # What could not be removed yet, for the killed writer had it open, is in the trash, and a purge takes it.
    world.ok("image", "trash", "purge")
    assert trashed(world, name) == []
    again = ended[0][0]
    world.ok("image", "import", str(big), f"vms/{again}")
    assert world.content(again) == big.read_bytes()
    world.forget(name)


def test_an_export_that_is_ended_leaves_no_file(world: LabWorld, name: str, big: Path, host: LabHost) -> None:
    world.ok("image", "import", str(big), f"vms/{name}.a")
    process = subprocess.Popen(
        [sys.executable, "-m", "virtrbd", "image", "export", f"vms/{name}.a", "out.raw"], env=world.env,
        cwd=host.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    eventually("the export has begun", lambda: bool(list(host.folder.glob(".out.raw.*.part"))))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=50)
    assert process.returncode == 130
    assert [file.name for file in host.folder.iterdir() if "out.raw" in file.name] == []
    world.forget(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A verb that makes an image: its steps, its words, and what the image holds in the end."""

    steps: tuple[str, ...]
    words: Callable[[str], tuple[str, ...]]
    content: bytes


FILLED = ("intent rename", "RBD.create", "write_metadata", "qemu-img convert")
MARKED = ("write_metadata", "intent unlink")


@pytest.mark.timeout(180)
def test_making_an_image_killed_after_any_step_is_finished_by_the_next_run(
    world: LabWorld, name: str, sources: Sources
) -> None:
    file, snapshot = str(sources.file), sources.snapshot
    cases = {
        "create": Case(
            steps=("intent rename", "RBD.create", "write_metadata", "intent unlink"),
            words=lambda image: ("create", image, "8M"), content=bytes(8 * MIB),
        ),
        "clone": Case(
            steps=("intent rename", "RBD.clone", "write_metadata", "write_metadata", "intent unlink"),
            words=lambda image: ("clone", snapshot, image), content=sources.snapshot_content,
        ),
        "copy": Case(
            steps=(*FILLED, *MARKED), words=lambda image: ("copy", snapshot, image), content=sources.snapshot_content
        ),
        "base": Case(
            steps=(*FILLED, "Image.create_snap", "Image.protect_snap", *MARKED),
            words=lambda image: ("import", "--as-base", file, image), content=sources.file_content,
        ),
    }  # fmt: skip

    def kill_and_finish(kind: str, n: int) -> None:
        case, image = cases[kind], f"{name}.{kind}{n}"
        words = ("image", *case.words(f"vms/{image}"))
        code, came = world.run_killed(n, "after", *words)
        assert (code, came) == (-signal.SIGKILL, list(case.steps[:n])), (kind, n)
        done = world.virtrbd(*words)
        # Of a clone that is as it was made, what is left to do is nothing.
        is_done = n == len(case.steps) and kind != "clone"
        assert done.returncode == (5 if is_done else 0), (kind, n, done)
        assert not is_done or f"image vms/{image} exists" in done.stderr
        with rbd.Image(world.vms, image, read_only=True) as opened:
            assert [key for key, _ in opened.metadata_list()] == ["virtrbd.owner"], (kind, n)
            assert bytes(opened.read(0, opened.size())) == case.content, (kind, n)
            assert [snap["name"] for snap in opened.list_snaps()] == (["base"] if kind == "base" else []), (kind, n)

    with ThreadPoolExecutor(12) as pool:
        at = [(kind, n) for kind, case in cases.items() for n in range(1, len(case.steps) + 1)]
        list(pool.map(lambda each: kill_and_finish(*each), at))
    assert world.intents(name) == []
    for n in range(1, len(cases["base"].steps) + 1):
        with rbd.Image(world.vms, f"{name}.base{n}") as opened:
            opened.unprotect_snap("base")
            opened.remove_snap("base")
    world.forget(name)


@pytest.mark.timeout(120)
def test_removing_an_image_killed_after_any_step_is_finished(world: LabWorld, name: str) -> None:
    steps = ("Image.unprotect_snap", "Image.remove_snap", "RBD.trash_move", "RBD.trash_remove")

    def kill_and_finish(n: int) -> None:
        image = f"vms/{name}.{n}"
        world.ok("image", "create", image, "8M")
        world.ok("image", "snapshot", "create", "--protect", f"{image}@s1")
        code, came = world.run_killed(n, "after", "image", "remove", *GOES, image)
        assert (code, came) == (-signal.SIGKILL, list(steps[:n]))
        again = world.virtrbd("image", "remove", *GOES, image)
        if n <= 2:
            assert again.stdout.splitlines()[-1] == f"{image}: removed for good", again
        else:
            # In the trash it is nobody's any more: a purge takes it, for its delay is none.
            assert again.returncode == 5
            assert ("is in the trash" if n == 3 else "does not exist") in again.stderr

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(kill_and_finish, range(1, len(steps) + 1)))
    assert f"vms/{name}.3: removed for good\n" in world.ok("image", "trash", "purge")
    assert (world.images(name), trashed(world, name)) == ([], [])


def test_a_flatten_that_was_killed_leaves_the_clone_whole(world: LabWorld, name: str, sources: Sources) -> None:
    image = f"vms/{name}.a"
    world.ok("image", "clone", sources.snapshot, image)
    code, _ = world.run_killed(1, "before", "image", "flatten", image)
    assert code == -signal.SIGKILL
    assert world.content(f"{name}.a") == sources.snapshot_content
    assert world.ok("image", "flatten", image) == f"{image}: flattened\n"
    assert world.content(f"{name}.a") == sources.snapshot_content
    world.forget(name)
