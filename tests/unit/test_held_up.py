"""A run that is past its deadline ends with a report; one that finds the lock held for too long says so, once."""

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

Run = Callable[..., subprocess.CompletedProcess[str]]
HELD = "virtrbd_reconcile_held_up_since_timestamp_seconds"


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Settings with a textfile and a deadline of 5 s."""
    file = tmp_path / "settings.yaml"
    file.write_text(
        f"host: kvm-1\nstate_dir: {tmp_path}/state\ntextfile: {tmp_path}/virtrbd.prom\n"
        f"connect: qemu:///system?socket=/nowhere\nspec_dir: {tmp_path}/specs\ntimeouts: {{reconcile: 5}}\n"
    )
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs/a.yaml").write_text("name: a\nmemory: 1G\ndisks: [{size: 1G}]\n")
    return file


@contextmanager
def held(folder: Path, holder: str, ago_s: float) -> Iterator[None]:
    """Hold reconcile's lock, as a run that took it some time ago does."""
    file = folder / "state/locks/%20reconcile"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        file.write_text(holder)
        os.utime(file, (time.time() - ago_s,) * 2)
        yield


def metric(folder: Path, name: str) -> float | None:
    lines = (folder / "virtrbd.prom").read_text().splitlines() if (folder / "virtrbd.prom").exists() else []
    return next((float(line.split()[-1]) for line in lines if line.startswith(name)), None)


@pytest.mark.usefixtures("settings")
def test_a_lock_held_for_too_long_is_said_once_and_is_in_the_summary(virtrbd: Run, tmp_path: Path) -> None:
    assert virtrbd("reconcile").returncode == 69, "there is no libvirt"
    last = metric(tmp_path, "virtrbd_reconcile_last_run_timestamp_seconds")
    assert metric(tmp_path, HELD) == 0
    with held(tmp_path, "virtrbd reconcile (pid 4242)", ago_s=3):
        quiet = virtrbd("reconcile")
        assert (quiet.returncode, quiet.stdout + quiet.stderr) == (75, ""), "within its deadline"
        assert metric(tmp_path, HELD) == 0
    with held(tmp_path, "virtrbd reconcile (pid 4242)", ago_s=60):
        first, second = virtrbd("reconcile"), virtrbd("reconcile")
        document = virtrbd("reconcile", "--output", "json")
        since = time.strftime(
            "%Y-%m-%d %H:%M UTC", time.gmtime((tmp_path / "state/locks/%20reconcile").stat().st_mtime)
        )
        assert metric(tmp_path, HELD) == pytest.approx(time.time() - 60, abs=30)
    assert (first.returncode, first.stdout) == (75, "")
    assert first.stderr == (
        f"reconcile: virtrbd reconcile (pid 4242) has held the lock since {since}, longer than a run may take "
        f"(timeouts: reconcile, 5 s), and no other run does anything; end it if it hangs\n"
    )
    assert (second.returncode, second.stdout + second.stderr) == (75, "")
    assert (document.returncode, json.loads(document.stdout)["exit_code"], document.stderr) == (75, 75, "")
    assert metric(tmp_path, "virtrbd_reconcile_last_run_timestamp_seconds") == last, "the rest is the last run's"
    with held(tmp_path, "virtrbd reconcile (pid 4343)", ago_s=60):
        assert "(pid 4343) has held the lock" in virtrbd("reconcile").stderr, "another one is news"
    assert virtrbd("reconcile").returncode == 69
    assert metric(tmp_path, HELD) == 0


@pytest.mark.usefixtures("settings")
def test_a_lock_that_was_held_from_the_first_run_on_is_in_a_summary_of_its_own(virtrbd: Run, tmp_path: Path) -> None:
    with held(tmp_path, "", ago_s=600):
        done = virtrbd("reconcile", "--log", "json")
    assert done.returncode == 75
    assert json.loads(done.stderr)["line"].startswith("reconcile: another run has held the lock since ")
    assert metric(tmp_path, HELD)


HANGING = """
import time
import virtrbd.commands.reconcile as reconcile
import virtrbd.specs.desired as desired
reconcile._GRACE_S = 0
desired.read_files = lambda *_, **__: time.sleep(60)
from virtrbd.__main__ import main
main()
"""


def test_a_run_that_hangs_while_it_reads_is_ended_and_leaves_no_lock(settings: Path, tmp_path: Path) -> None:
    settings.write_text(settings.read_text().replace("reconcile: 5", "reconcile: 1"))
    began_at = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", HANGING, "reconcile", "--output", "json"],
        env={**os.environ, "VIRTRBD_CONFIG": str(settings)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    line = (
        "reconcile: reading the specs: not done within 1 s (timeouts: reconcile); the run was ended there, and the "
        "next one goes on"
    )
    assert (done.returncode, done.stderr) == (69, f"{line}\n")
    assert json.loads(done.stdout)["errors"] == [line]
    assert time.monotonic() - began_at < 20
    assert metric(tmp_path, "virtrbd_reconcile_exit_code") == 69
    with (tmp_path / "state/locks/%20reconcile").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


WATCHED = """
import sys, time
from virtrbd import deadline
deadline._LAST_WORDS_S = 0.5
with deadline.ended_at(time.monotonic() + float(sys.argv[1]), lambda: (print("last words"), ENDING)):
    WORK
print("done")
"""


@pytest.mark.parametrize(
    ("at", "work", "last", "code", "said"),
    [
        ("0.2", "time.sleep(60)", "None", 69, "last words\n"),
        ("0.2", "while True: pass", "None", 69, "last words\n"),
        ("0.2", "time.sleep(60)", "time.sleep(60)", 69, "last words\n"),
        ("0.2", "time.sleep(60)", "1 / 0", 69, "last words\n"),
        ("30", "pass", "None", 0, "done\n"),
        ("0.2", "raise SystemExit(7)", "None", 7, ""),
    ],
)
def test_a_process_is_ended_at_its_time_and_not_before(at: str, work: str, last: str, code: int, said: str) -> None:
    program = WATCHED.replace("WORK", work).replace("ENDING", last)
    done = subprocess.run([sys.executable, "-c", program, at], capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (code, said), done.stderr
