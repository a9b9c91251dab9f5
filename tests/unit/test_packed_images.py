"""Disks in other files: unpacked within limits, found in archives, and judged like any other file."""

import bz2
import gzip
import io
import lzma
import os
import subprocess
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hostile_images import MIB, descriptor, qcow2, vmdk
from support.sources import as_disk

from virtrbd.errors import ConfigError, SpecError, VirtrbdError
from virtrbd.images.import_source import ImportWork, open_import
from virtrbd.model.import_file import ImportFile
from virtrbd.model.settings import ImportSettings, Settings
from virtrbd.qemu.formats.archive import Member, find_disk, part_of
from virtrbd.qemu.formats.image_bytes import ImageBytes

pytestmark = pytest.mark.slow

DISK = as_disk(os.urandom(100_000) + bytes(MIB) + b"end")


def by_tool(*words: str) -> Callable[[bytes], bytes]:
    return lambda content: subprocess.run(words, input=content, capture_output=True, check=True, timeout=50).stdout


PACKERS: Mapping[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
    "zstd": by_tool("zstd", "-qc"),
    "zstd --long": by_tool("zstd", "-qc", "--long=31"),
    "xz -9e of several blocks": by_tool("xz", "-c9e", "--block-size=65536"),
}


def settings_of(folder: Path, largest: int = 64 * MIB) -> Settings:
    return Settings(host="here", imports=ImportSettings(cache_dir=str(folder / "cache"), largest=largest))


def imported(folder: Path, content: bytes, largest: int = 64 * MIB, **words: Any) -> bytes:
    """Return the bytes of the file that would be imported, whatever its format."""
    (folder / "disk").write_bytes(content)
    return imported_again(folder, largest, **words)


def imported_again(folder: Path, largest: int = 64 * MIB, **words: Any) -> bytes:
    """Import what `imported` wrote, which nobody touched meanwhile."""
    wanted = ImportFile(name=str(folder / "disk"), **words)
    with open_import(wanted, ImportWork(settings=settings_of(folder, largest))) as source:
        return source.file.image.get(0, source.file.length)


@pytest.mark.parametrize("packer", PACKERS)
def test_a_packed_disk_is_unpacked(packer: str, tmp_path: Path) -> None:
    assert imported(tmp_path, PACKERS[packer](DISK)) == DISK
    # And of a file that was packed, then packed again.
    assert imported(tmp_path, PACKERS["gzip"](PACKERS[packer](qcow2()))) == qcow2()


def test_several_members_are_one_disk_as_the_programs_have_it(tmp_path: Path) -> None:
    for packer in ("gzip", "xz", "bzip2", "zstd"):
        pack = PACKERS[packer]
        assert imported(tmp_path, pack(DISK[:5000]) + pack(DISK[5000:])) == DISK


@pytest.mark.parametrize("packer", ["gzip", "xz", "bzip2", "zstd"])
@pytest.mark.parametrize("what", ["cut", "changed", "followed by garbage"])
def test_a_packed_disk_that_is_not_whole_is_refused(packer: str, what: str, tmp_path: Path) -> None:
    packed = PACKERS[packer](DISK)
    middle = len(packed) // 2
    broken = {
        "cut": packed[:-20],
        "changed": packed[:middle] + bytes(16) + packed[middle + 16 :],
        "followed by garbage": packed + b"garbage, " * 10,
    }[what]
    with pytest.raises(SpecError, match="is damaged or cut short") as caught:
        imported(tmp_path, broken)
    assert str(caught.value).startswith(f"{tmp_path}/disk: ")
    assert "stdin" not in str(caught.value)
    assert os.listdir(tmp_path / "cache") == []


def test_a_bomb_comes_to_its_limit_soon_and_leaves_nothing(tmp_path: Path) -> None:
    bomb = by_tool("sh", "-c", "head -c 600M /dev/zero | zstd -qc")(b"")
    began = time.monotonic()
    with pytest.raises(VirtrbdError, match=r"disk, unpacked,: is larger than 64 MiB, the settings' imports: largest"):
        imported(tmp_path, bomb)
    assert time.monotonic() - began < 20
    assert os.listdir(tmp_path / "cache") == []


def test_zeroes_take_no_room(tmp_path: Path) -> None:
    imported(tmp_path, gzip.compress(as_disk(bytes(32 * MIB))))
    [name] = os.listdir(tmp_path / "cache")
    found = (tmp_path / "cache" / name).stat()
    assert found.st_size == 32 * MIB
    assert found.st_blocks * 512 < MIB


def test_a_cache_is_kept_as_small_as_the_settings_say(tmp_path: Path) -> None:
    small = Settings(host="here", imports=ImportSettings(cache_dir=str(tmp_path / "cache"), cache_size=2 * MIB))
    (tmp_path / "cache").mkdir(mode=0o700)
    (tmp_path / "cache" / "people's own").write_bytes(os.urandom(4 * MIB))
    for number in range(4):
        file = tmp_path / f"{number}.gz"
        file.write_bytes(gzip.compress(as_disk(os.urandom(MIB)), 1))
        for name in os.listdir(tmp_path / "cache"):
            os.utime(tmp_path / "cache" / name, (number, number))
        with open_import(ImportFile(name=str(file)), ImportWork(settings=small)):
            pass
    kept = sorted(os.listdir(tmp_path / "cache"))
    assert len(kept) == 3, "what was asked for last, as much as there is room for, and what virtrbd did not write"
    assert "people's own" in kept


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o701])
def test_a_cache_that_others_may_look_into_is_refused(mode: int, tmp_path: Path) -> None:
    # What is in it is of files that may be their owner's alone, and each entry is readable by all.
    cache = tmp_path / "cache"
    cache.mkdir()
    cache.chmod(mode)
    fact = rf"{cache}: others may read it \(mode {mode:04o}\); chmod 700 {cache}$"
    with pytest.raises(ConfigError, match=fact):
        imported(tmp_path, gzip.compress(DISK))
    assert list(cache.iterdir()) == []
    cache.chmod(0o700)
    assert imported(tmp_path, gzip.compress(DISK)) == DISK


def test_what_a_killed_run_left_half_written_in_the_cache_goes(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    (cache / f".virtrbd+{'0' * 16}.part").write_text("half")
    assert imported(tmp_path, gzip.compress(DISK)) == DISK
    [kept] = cache.iterdir()
    assert kept.read_bytes() == DISK


def test_what_is_packed_again_and_again_is_refused(tmp_path: Path) -> None:
    content = DISK
    for _ in range(5):
        content = gzip.compress(content)
    with pytest.raises(VirtrbdError, match="is packed by gzip; unpack it first"):
        imported(tmp_path, content)


def test_what_is_named_raw_is_not_unpacked(tmp_path: Path) -> None:
    packed = gzip.compress(DISK)
    assert imported(tmp_path, packed, format="raw") == packed
    assert not (tmp_path / "cache").exists()


def test_what_is_unpacked_is_judged_as_strictly_as_a_file(tmp_path: Path) -> None:
    for content, says in {
        qcow2(backing=b"/etc/shadow"): "refers to /etc/shadow",
        b"<!doctype html><html>": "is a web page",
        b"LUKS\xba\xbe".ljust(4096): "is encrypted",
        bytes(4096): "has no partition table, file system or boot sector",
    }.items():
        with pytest.raises(VirtrbdError, match=says):
            imported(tmp_path, lzma.compress(content))
    with pytest.raises(VirtrbdError, match="is not an archive that could hold"):
        imported(tmp_path, lzma.compress(DISK), member="disk.vmdk")
    with pytest.raises(VirtrbdError, match="is not a vdi file"):
        imported(tmp_path, lzma.compress(qcow2()), format="vdi")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Sequence[Sequence[str]]:
    """The commands that were started."""
    started: list[Sequence[str]] = []

    class Noted(subprocess.Popen[bytes]):
        def __init__(self, words: Sequence[str], **more: Any) -> None:
            started.append(words)
            super().__init__(words, **more)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    return started


def test_a_file_that_nobody_touched_is_unpacked_once(tmp_path: Path, started: Sequence[Sequence[str]]) -> None:
    # It ends with a hole, which is a part of what is looked at again.
    content = DISK + bytes(MIB)
    assert imported(tmp_path, gzip.compress(content)) == content
    assert imported_again(tmp_path) == content
    assert len(started) == 1


@pytest.mark.parametrize("what", ["cut short", "grown", "changed", "empty"])
def test_an_entry_that_a_power_cut_left_is_unpacked_anew(
    what: str, tmp_path: Path, started: Sequence[Sequence[str]]
) -> None:
    assert imported(tmp_path, gzip.compress(DISK)) == DISK
    [entry] = (tmp_path / "cache").iterdir()
    # Changed is what stands behind the boot sector: what is left is still a disk.
    broken = {"cut short": DISK[:-1], "grown": DISK + b"more", "changed": DISK[:-1] + b"D", "empty": b""}[what]
    entry.chmod(0o600)
    entry.write_bytes(broken)
    assert imported_again(tmp_path) == DISK
    assert imported_again(tmp_path) == DISK
    assert len(started) == 2
    [entry] = (tmp_path / "cache").iterdir()
    assert entry.read_bytes() == DISK


def test_it_is_another_user_without_rights_that_unpacks(tmp_path: Path, started: Sequence[Sequence[str]]) -> None:
    assert imported(tmp_path, gzip.compress(DISK)) == DISK
    [words] = started
    assert {"--no-new-privs", "gzip"} <= set(words)
    if os.geteuid() == 0:
        assert {"--reuid", "--clear-groups", "--bounding-set=-all", "--net"} <= set(words)
    assert not any(str(tmp_path) in word for word in words)


def tar(*members: tuple[str, bytes] | tarfile.TarInfo, form: int = tarfile.GNU_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            archive.addfile(info, io.BytesIO(member[1]))
    return out.getvalue()


VMDK = vmdk(descriptor(b'SPARSE "x.vmdk"')).ljust(2 * MIB, b"\0")
OVF = ("a.ovf", b'<?xml version="1.0"?><Envelope><File ovf:href="../../etc/shadow"/></Envelope>')
MF = ("a.mf", b"SHA256(a.ovf)= 00\n")


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_the_disk_of_an_ova_is_found_by_what_it_is(form: int, tmp_path: Path) -> None:
    ova = tar(OVF, MF, ("disk-1.vmdk", VMDK), form=form)
    assert imported(tmp_path, ova) == VMDK
    assert not (tmp_path / "cache").exists(), "it is read where it is"
    assert imported(tmp_path, gzip.compress(ova)) == VMDK
    assert imported(tmp_path, tar(OVF, ("disk-1.vmdk.gz", gzip.compress(VMDK)), form=form)) == VMDK


def test_the_disk_of_an_ova_with_two_is_taken_by_name(tmp_path: Path) -> None:
    ova = tar(OVF, ("one.vmdk", VMDK), ("./two.raw", DISK + bytes(-len(DISK) % 512)))
    with pytest.raises(VirtrbdError, match=r"holds 2 disks: 'one\.vmdk', '\./two\.raw'; name one with --member"):
        imported(tmp_path, ova)
    assert imported(tmp_path, ova, member="one.vmdk") == VMDK
    assert imported(tmp_path, ova, member="two.raw").startswith(DISK)
    with pytest.raises(VirtrbdError, match=r"does not hold a file 'three'; name one of 'a\.ovf', 'one\.vmdk'"):
        imported(tmp_path, ova, member="three")
    with pytest.raises(VirtrbdError, match="is a web page"):
        imported(tmp_path, ova, member="a.ovf")


def odd(name: str, kind: bytes, link: str = "", **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    for field, value in fields.items():
        setattr(info, field, value)
    return info


@pytest.mark.parametrize("name", ["../../../etc/passwd", "/etc/passwd", "a\nb", "\x1b[2J", "x" * 3000, "\udcff", " "])
def test_an_odd_name_leads_nowhere(name: str, tmp_path: Path) -> None:
    assert imported(tmp_path, tar((name, VMDK))) == VMDK
    assert imported(tmp_path, tar((name, VMDK)), member=name) == VMDK
    assert sorted(os.listdir(tmp_path)) == ["disk"]


def test_links_and_devices_are_no_disks(tmp_path: Path) -> None:
    others = [odd("l", tarfile.SYMTYPE, "/dev/sda"), odd("h", tarfile.LNKTYPE, "/etc/shadow")]
    kinds = (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)
    others += [odd(kind.decode(), kind) for kind in kinds]
    with pytest.raises(VirtrbdError, match="without a disk in it; it holds nothing"):
        imported(tmp_path, tar(*others))
    assert imported(tmp_path, tar(*others, ("disk", VMDK))) == VMDK
    for each in others:
        with pytest.raises(VirtrbdError, match="does not hold a file"):
            imported(tmp_path, tar(*others, ("disk", VMDK)), member=each.name)


def looked(content: bytes, wanted: str = "") -> Member:
    """Find the disk, and count what is read."""
    read = 0

    def read_at(at: int, count: int) -> bytes:
        nonlocal read
        assert 0 <= at < 2**63
        assert count <= MIB, "a header may claim any length"
        read += len(content[at : at + count])
        return content[at : at + count]

    try:
        return find_disk(ImageBytes(name="it", length=len(content), read_at=read_at), wanted)
    finally:
        assert read <= 32 * MIB


def test_what_an_archive_lies_about_is_refused() -> None:
    twice = tar(("d", VMDK), ("d", VMDK))
    huge = odd("d", tarfile.REGTYPE, size=2**40).tobuf(tarfile.GNU_FORMAT)
    pax = odd("p", tarfile.XHDTYPE, size=2**30).tobuf(tarfile.GNU_FORMAT) + bytes(4 * MIB)
    sparse = odd("d", tarfile.GNUTYPE_SPARSE, size=512).tobuf(tarfile.GNU_FORMAT) + bytes(4096)
    more_holes = bytearray(odd("d", tarfile.GNUTYPE_SPARSE, size=512).tobuf(tarfile.GNU_FORMAT))
    more_holes[482] = 1
    more_holes[148:156] = b"%06o\0 " % sum(more_holes[:148] + b" " * 8 + more_holes[156:])
    tail = bytearray(tar(("d", as_disk(bytes(700)))))
    tail[512 + 700] = 1
    for content, says in {
        twice: "holds 2 disks: 'd', 'd'",
        huge + VMDK: "is damaged or cut short",
        pax: "is damaged or cut short",
        sparse: "holes left out|damaged",
        bytes(more_holes): "is damaged or cut short",
        tar(*[(str(number), b"") for number in range(1100)]): "holds more than 1000 files",
        bytes(tail): "is followed by data that does not belong to it",
        tar(("d", VMDK))[: 512 + MIB]: "is damaged or cut short",
        tar(OVF): r"without a disk in it; it holds 'a\.ovf'",
    }.items():
        with pytest.raises(VirtrbdError, match=says):
            looked(content)
    with pytest.raises(VirtrbdError, match="holds 'd' 2 times"):
        looked(twice, "d")


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_any_archive_has_an_answer(data: st.DataObject) -> None:
    broken = bytearray(tar(OVF, ("disk", as_disk(bytes(3000))), form=data.draw(st.sampled_from([0, 1, 2]))))
    for _ in range(data.draw(st.integers(0, 5))):
        at = data.draw(st.integers(0, len(broken) - 1))
        new = data.draw(st.binary(min_size=1, max_size=12))
        broken[at : at + len(new)] = new
    # A header that does not fit its checksum is none.
    for at in range(0, len(broken) - 512, 512):
        if data.draw(st.booleans()):
            header = broken[at : at + 148] + b" " * 8 + broken[at + 156 : at + 512]
            broken[at + 148 : at + 156] = b"%06o\0 " % sum(header)
    try:
        member = looked(bytes(broken))
    except VirtrbdError:
        return
    whole = ImageBytes(name="it", length=len(broken), read_at=lambda at, count: bytes(broken[at : at + count]))
    assert len(part_of(whole, member).get(0, member.length)) == member.length
