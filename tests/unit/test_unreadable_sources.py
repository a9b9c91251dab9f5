"""Files that open and cannot be read, as on a server or a disk that fails: each ends with an error that names it."""

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from virtrbd.errors import SpecError
from virtrbd.images.repaired_copy import _allowed_s, _judge, repaired_copy
from virtrbd.images.source_file import Source, open_file
from virtrbd.images.verify import wanted_checksum
from virtrbd.model.record import replace
from virtrbd.model.settings import ImportSettings
from virtrbd.qemu.formats.look import Look

# A regular file of 4096 bytes whose read fails: the loopback interface has no speed.
FAILS = "/sys/class/net/lo/speed"


@pytest.fixture
def failing() -> str:
    try:
        Path(FAILS).read_bytes()
    except FileNotFoundError:
        pytest.skip("no sysfs here")
    except OSError:
        return FAILS
    pytest.skip("this kernel lets it be read")


def test_a_list_of_checksums_that_cannot_be_read_is_named(failing: str) -> None:
    with pytest.raises(SpecError, match=f"^{failing}: Invalid argument; "):
        wanted_checksum(failing, "disk.raw", 60)


def test_a_file_to_repair_that_cannot_be_read_is_named(failing: str, tmp_path: Path) -> None:
    settings = ImportSettings(cache_dir=str(tmp_path / "cache"))
    with ExitStack() as stack:
        file = stack.enter_context(open_file(failing))
        source = Source(file=replace(file, length=4096), look=Look(format="qcow2", size_bytes=4096))
        with pytest.raises(SpecError, match=f"^{failing}: Invalid argument; "):
            repaired_copy(stack, source, settings)
    assert os.listdir(tmp_path / "cache") == []


def test_a_repair_that_came_to_its_limits_does_not_blame_the_file() -> None:
    with pytest.raises(SpecError, match=r"came to its limits of time and memory \(signal 9\); repair it where it was"):
        _judge("disk.qcow2", -9, "ERROR cluster 5 refcount=0 reference=1")
    with pytest.raises(SpecError, match=r"cannot be repaired: qemu-img says 1; get it again"):
        _judge("disk.qcow2", 1, "")
    _judge("disk.qcow2", 0, "")


def test_a_large_file_has_more_time_to_be_repaired() -> None:
    assert _allowed_s(0) == 60
    assert _allowed_s(256 * 1024**3) > 4 * 3600
