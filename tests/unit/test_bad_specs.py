"""What bad input gets: message and exit code."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from virtrbd.specs.files import read_files

NOBODY = 65534
Run = Callable[..., CompletedProcess[str]]


def test_three_mistakes_in_two_files_are_all_reported_with_their_lines(virtrbd: Run, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("name: web-01\nmemory: lots\ndisks:\n  - size: 1G\n    cache: fast\n")
    (tmp_path / "b.yaml").write_text("name: web-02\nmemory: 1G\ndisks:\n  - siez: 1G\n    size: 1G\n")
    done = virtrbd("validate", "a.yaml", "b.yaml")
    assert done.returncode == 65
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("a.yaml:2: memory: 'lots' is not a size; write")
    assert lines[1].startswith("a.yaml:5: disks[0].cache: 'fast' is not known; write 'none'")
    assert lines[2] == "b.yaml:4: disks[0].siez: unknown field; did you mean `size`?"


DISKS = "disks:\n  - size: 1G\n"

CASES = {
    "unquoted mac": (
        f"name: w\nmemory: 1G\n{DISKS}interfaces:\n  - network: n\n    mac: 52:54:00:12:34:56\n",
        's.yaml:7: interfaces[0].mac: YAML reads 52:54:00:12:34:56 as a number; write "52:54:00:12:34:56" in quotes',
    ),
    "repeated key": (
        f"name: w\nmemory: 1G\nmemory: 2G\n{DISKS}",
        "s.yaml:3: memory: written twice (first in line 2); keep one",
    ),
    "ide on q35": (
        "name: w\nmemory: 1G\nmachine: q35\ndisks:\n  - size: 1G\n    bus: ide\n",
        "s.yaml:6: disks[0].bus: q35 has no IDE controller; write machine: pc, or bus: sata",
    ),
    "five ide disks": (
        "name: w\nmemory: 1G\ndisks:\n" + "  - {size: 1G, bus: ide}\n" * 5,
        "s.yaml:3: disks: five or more ide disks; the only IDE controller has 4 places: use sata, scsi or virtio",
    ),
    "two disks on one target": (
        "name: w\nmemory: 1G\ndisks:\n  - {size: 1G, target: vda}\n  - {size: 1G, target: vda, image: vms/x}\n",
        "s.yaml:5: disks[1].target: vda is taken by another disk; give each its own",
    ),
    "one image in two domains": (
        "name: a\nmemory: 1G\ndisks:\n  - {size: 1G, image: vms/x}\n---\n"
        "name: b\nmemory: 1G\ndisks:\n  - {size: 1G, image: vms/x}\n",
        "s.yaml:8: disks: image vms/x is already used in s.yaml:1; give each its own",
    ),
    "no yaml": ("name: [\n", "s.yaml:2: not YAML: "),
    "not a mapping": ("- a\n", "s.yaml:1: not a mapping"),
    "clone of no snapshot": (
        "name: w\nmemory: 1G\ndisks:\n  - clone: golden/x\n",
        "s.yaml:4: disks[0]: golden/x is not a snapshot; clone takes pool/image@snapshot",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_names_file_line_field_and_way_out(name: str, virtrbd: Run, tmp_path: Path) -> None:
    text, message = CASES[name]
    (tmp_path / "s.yaml").write_text(text)
    done = virtrbd("validate", "s.yaml")
    assert done.returncode == 65
    assert done.stderr.startswith(message)
    assert done.stdout == ""


@pytest.mark.parametrize("flag", ["readonly: true, bus: scsi", "shareable: true, cache: none"])
def test_images_that_are_not_written_alone_may_be_shared(flag: str, virtrbd: Run, tmp_path: Path) -> None:
    disk = f"  - {{image: vms/x, existing: true, {flag}}}\n"
    (tmp_path / "s.yaml").write_text("".join(f"---\nname: {n}\nmemory: 1G\ndisks:\n{disk}" for n in "ab"))
    assert virtrbd("validate", "s.yaml").returncode == 0


def test_a_missing_file_is_named(virtrbd: Run) -> None:
    done = virtrbd("validate", "nowhere.yaml")
    assert (done.returncode, done.stderr) == (65, "nowhere.yaml: No such file or directory; check the path\n")


@pytest.fixture
def closed_folder() -> Iterator[Path]:
    """A folder that may not be read, and for root a user who may not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0)
    as_root = os.geteuid() == 0
    if as_root:
        os.seteuid(NOBODY)
    yield folder
    if as_root:
        os.seteuid(0)
    folder.rmdir()


def test_a_folder_that_may_not_be_read_is_named(closed_folder: Path) -> None:
    for place in (closed_folder, closed_folder / "below", closed_folder / "below*"):
        assert read_files([str(place)]).problems[0].startswith(f"{place}: "), place
    assert read_files([str(closed_folder)]).problems == (f"{closed_folder}: Permission denied; check the path",)


def test_a_full_disk_under_the_answer_is_no_bug() -> None:
    words = [sys.executable, "-m", "virtrbd", "--help"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        5,
        "virtrbd: standard output: no space left on device; make room or write elsewhere, then run again\n",
    )


def test_a_wrong_option_is_64_not_clicks_2(virtrbd: Run) -> None:
    assert virtrbd("validate", "--nonsense").returncode == 64
