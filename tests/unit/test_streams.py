"""Standard streams that the caller closed, folders that are gone: what a run does stays what it is, or it says why."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from virtrbd.errors import UnavailableError
from virtrbd.images.raw_server import serving

pytestmark = pytest.mark.slow

# What a closed stream's number would be given to: the next file that is opened.
LOOKING = """
import os, sys
from virtrbd.__main__ import _open_standard_streams
_open_standard_streams()
print("lost")
print("lost", file=sys.stderr)
assert not set(range(3)) & {os.open(os.devnull, os.O_RDONLY)}
assert [sys.stdin.fileno(), sys.stdout.fileno(), sys.stderr.fileno()] == [0, 1, 2]
assert all(map(os.get_inheritable, range(3)))
assert sys.stdin.read() == "" or 0 not in CLOSED
sys.exit(7)
"""


def closed(*numbers: int) -> str:
    """The words by which a shell closes them."""
    return " ".join(("<&-", ">&-", "2>&-")[number] for number in numbers)


@pytest.mark.parametrize("numbers", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2), (0, 1, 2)])
def test_a_closed_stream_is_no_number_for_a_file(numbers: Sequence[int]) -> None:
    program = LOOKING.replace("CLOSED", repr(numbers))
    command = f'exec "$0" -c "$1" {closed(*numbers)}'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, program],
        input="",
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 7, done


def test_a_run_with_all_of_them_closed_ends_as_it_would(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text("name: a\nmemory: 1G\ndisks: [{size: 1G}]\n")
    (tmp_path / "bad.yaml").write_text("name: a\n")
    for file, code in (("good.yaml", 0), ("bad.yaml", 65)):
        command = f'exec "$0" -m virtrbd validate {file} {closed(0, 1, 2)}'
        done = subprocess.run(["sh", "-c", command, sys.executable], cwd=tmp_path, check=False, timeout=30)
        assert done.returncode == code


def test_a_working_directory_that_is_gone_ends_no_run(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("name: a\nmemory: 1G\ndisks: [{size: 1G}]\n")
    gone = tmp_path / "gone"
    gone.mkdir()
    command = 'rmdir "$1" && exec "$0" -m virtrbd validate "$2"'
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)}
    for file, code in ((str(tmp_path / "a.yaml"), 0), ("a.yaml", 65)):
        gone.mkdir(exist_ok=True)
        words = ["sh", "-c", command, sys.executable, str(gone), file]
        done = subprocess.run(words, cwd=gone, env=environment, capture_output=True, text=True, check=False, timeout=30)
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done


def test_a_host_without_room_for_a_socket_is_told_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with (
        pytest.raises(UnavailableError, match=r"^x\.raw: no folder for a socket .*; make room in /tmp"),
        serving("n", 0, "x.raw"),
    ):
        pass
