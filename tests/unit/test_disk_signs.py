"""Raw bytes are a disk where something shows it; where to look is each system's own description."""

import os
from pathlib import Path

import pytest
from support.hostile_images import MIB
from support.sources import as_disk, open_source

from virtrbd.errors import ExitCode, VirtrbdError
from virtrbd.qemu.formats.image_bytes import ImageBytes
from virtrbd.qemu.formats.look import Look, look
from virtrbd.qemu.formats.stream import RawStream

KIB = 1024
SIGNS = {
    "an MBR, a FAT, an NTFS": (510, b"\x55\xaa"),
    "GPT": (512, b"EFI PART"),
    "GPT of sectors of 4 KiB": (4096, b"EFI PART"),
    "GPT's backup": (MIB - 512, b"EFI PART"),
    "LVM2": (512, b"LABELONE"),
    "Linux RAID 1.2": (4096, b"\xfc\x4e\x2b\xa9"),
    "Linux RAID 1.0": (MIB - 8 * KIB, b"\xfc\x4e\x2b\xa9"),
    "Linux RAID 0.90": (MIB - 64 * KIB, b"\xfc\x4e\x2b\xa9"),
    "ext4": (1080, b"\x53\xef"),
    "XFS": (0, b"XFSB"),
    "btrfs": (65600, b"_BHRfS_M"),
    "swap": (4086, b"SWAPSPACE2"),
    "F2FS": (1024, b"\x10\x20\xf5\xf2"),
    "UFS2": (64 * KIB + 1372, b"\x19\x01\x54\x19"),
    "ZFS": (128 * KIB + 4 * KIB, b"\x0c\xb1\xba\x00\x00\x00\x00\x00"),
    "APFS": (32, b"NXSB"),
    "squashfs": (0, b"hsqs"),
}
NO_DISKS = {
    b"<!DOCTYPE html>\n<html>": "is a web page",
    b"\xef\xbb\xbf  <HTML>": "is a web page",
    b'<?xml version="1.0"?><Error>': "is a web page",
    b'{"message": "not found"}'.ljust(600): "is a text",
    "Größe: nicht gefunden\n".encode() * 40: "is a text",
    b"%PDF-1.7\n": "is a PDF document",
    b"PK\x03\x04": "is a zip archive",
    b"7z\xbc\xaf\x27\x1c": "is a 7-Zip archive",
    b"\x7fELF\x02": "is a program",
    b"LUKS\xba\xbe\0\x02": "is encrypted",
    b"\x1f\x8b\x08": "is packed by gzip",
    bytes(4096): "has no partition table, file system or boot sector",
    b"\x01": "has no partition table",
}


def with_sign(at: int, sign: bytes) -> bytes:
    return bytes(at) + sign + bytes(MIB - at - len(sign))


def looked_at(content: bytes, file_format: str = "") -> Look:
    read_at = lambda at, count: content[at : at + count]  # noqa: E731
    return look(ImageBytes(name="it", length=len(content), read_at=read_at), file_format)


def refusal(content: bytes, file_format: str = "") -> VirtrbdError:
    with pytest.raises(VirtrbdError, match=r"^it: ") as caught:
        looked_at(content, file_format)
    return caught.value


@pytest.mark.parametrize("name", SIGNS)
def test_what_shows_a_disk_makes_it_one(name: str) -> None:
    assert looked_at(with_sign(*SIGNS[name])) == Look(format="raw", size_bytes=MIB)
    at, sign = SIGNS[name]
    refusal(with_sign(at + 7, sign))


@pytest.mark.parametrize("content", NO_DISKS, ids=NO_DISKS.values())
def test_what_is_no_disk_is_called_by_its_name_with_the_way_to_say_raw(content: bytes) -> None:
    for whole in (content, content + bytes(MIB), content + os.urandom(MIB)):
        error = refusal(whole)
        if whole is content:
            assert NO_DISKS[content] in str(error)
        assert "write --format raw for its bytes as they are" in str(error)
        assert error.exit_code is ExitCode.FAILED
        assert looked_at(whole, "raw").format == "raw"


def test_random_bytes_are_no_disk() -> None:
    content = bytearray(os.urandom(MIB))
    content[510:512] = b"\0\0"
    assert "has no partition table" in str(refusal(bytes(content)))


def test_a_disc_is_for_a_drive_even_where_it_boots_as_a_disk() -> None:
    disc = with_sign(32 * KIB, b"\x01CD001\x01")
    for content in (disc, as_disk(disc)):
        assert "is a CD or DVD" in str(refusal(content))
        assert "write --format iso for a CD-ROM drive, or write --format raw" in str(refusal(content))
        assert looked_at(content, "iso") == looked_at(content, "raw") == Look(format="raw", size_bytes=MIB)
    assert "is not a iso file" in str(refusal(as_disk(bytes(MIB)), "iso"))


@pytest.mark.parametrize("content", [b"<html>", bytes(4 * MIB), with_sign(32 * KIB, b"\x01CD001\x01")])
def test_what_is_no_disk_is_refused_from_a_pipe_before_more_is_read(content: bytes) -> None:
    stream = RawStream(name="it", read_some=lambda count: content[:count])
    with pytest.raises(VirtrbdError, match="--format raw"):
        stream.read(MIB)


def test_a_boot_sector_whose_code_reads_as_text_is_a_disk(tmp_path: Path) -> None:
    file = tmp_path / "disk.raw"
    file.write_bytes(as_disk(b"x" * MIB))
    with open_source(str(file)) as source:
        assert (source.look.format, source.size_bytes) == ("raw", MIB)
