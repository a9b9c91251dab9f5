"""The lab itself: a signal that ends its coming up, or the tests that use it, leaves nothing of it behind."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.checkout import CHECKOUT
from support.waiting import eventually

# A second lab that starts takes the machine's time, and the first one's health is looked at within seconds.
pytestmark = pytest.mark.alone


@pytest.fixture
def lab_dir() -> Iterator[Path]:
    # Not in pytest's own folder: the paths of sockets must be short.
    with tempfile.TemporaryDirectory(prefix="lab-", dir=os.environ.get("VIRTRBD_TEST_LABS")) as folder:
        yield Path(folder) / "lab"
        down = [str(CHECKOUT / "tools/lab"), "down"]
        subprocess.run(down, env={**os.environ, "VIRTRBD_LAB_DIR": f"{folder}/lab"}, check=True, timeout=50)


def daemons(lab: Path) -> list[str]:
    """The processes that carry the lab's mark."""
    mark, found = f"VIRTRBD_LAB_DAEMON={lab}".encode(), []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in entry.read_bytes().split(b"\0"):
                found.append(entry.parent.name)
        except OSError:
            continue
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_a_lab_that_is_ended_as_it_comes_up_leaves_nothing(number: signal.Signals, lab_dir: Path) -> None:
    up = subprocess.Popen(
        [str(CHECKOUT / "tools/lab"), "up", "--hosts", "2"], env={**os.environ, "VIRTRBD_LAB_DIR": str(lab_dir)}
    )
    eventually("its first daemons run", lambda: len(daemons(lab_dir)) >= 2, within_s=40)
    up.send_signal(number)
    assert up.wait(timeout=60) == 128 + number
    assert daemons(lab_dir) == []
    assert not lab_dir.exists()


FIXTURE = """
import time
from pathlib import Path
import pytest

@pytest.fixture
def brought_up():
    Path("up").touch()
    yield
    Path("taken-down").touch()

def test_that_takes_long(brought_up):
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_run_of_tests_that_is_ended_takes_down_what_it_brought_up(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "test_long.py").write_text(FIXTURE)
    words = ["-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "test_long.py"]
    tests = subprocess.Popen(
        [sys.executable, *words], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(CHECKOUT / "tests")}
    )
    eventually("it is brought up", (tmp_path / "up").exists, within_s=40)
    tests.send_signal(number)
    assert tests.wait(timeout=30) == pytest.ExitCode.INTERRUPTED
    assert (tmp_path / "taken-down").exists()
