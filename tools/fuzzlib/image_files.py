"""The target that takes image files: strangers made them, and guests wrote into them."""

from __future__ import annotations

import struct

from fuzzlib.target import Target, require
from virtrbd.errors import VirtrbdError
from virtrbd.qemu.formats import FORMATS
from virtrbd.qemu.formats.archive import find_disk
from virtrbd.qemu.formats.image_bytes import ImageBytes
from virtrbd.qemu.formats.look import look

# A header decides how much of a file is read for it.
_MOST_READ_BYTES = 512 * 1024
# 1,000 members, each looked at as an image file is, and 16 MiB of headers.
_MOST_OF_ARCHIVE_BYTES = 1000 * _MOST_READ_BYTES + 16 * 1024**2
_PIECE = struct.Struct("<IH")


def packed(content: bytes) -> bytes:
    """Return a file as its length and its pieces that are not zero: what is left to zero needs no byte here."""
    pieces = b"".join(
        _PIECE.pack(at, len(piece)) + piece
        for at in range(0, len(content), 512)
        if (piece := content[at : at + 512].rstrip(b"\0"))
    )
    return struct.pack("<I", len(content)) + pieces


def unpacked(data: bytes) -> bytes:
    """Return the file that is packed so, 4 MiB at most; any bytes are some file."""
    length = int.from_bytes(data[:4], "little") % (4 << 20)
    content, at = bytearray(length), 4
    while at + _PIECE.size <= len(data):
        offset, size = _PIECE.unpack_from(data, at)
        at += _PIECE.size
        piece = data[at : at + size]
        at += size
        if offset + len(piece) <= length:
            content[offset : offset + len(piece)] = piece
    return bytes(content)


def try_image_file(data: bytes) -> None:
    """An image file, as what it looks like and as each format that a person may name."""
    content = unpacked(data)
    for file_format in ("", *FORMATS):
        try:
            _look(content, file_format)
        except VirtrbdError as error:
            require(len(str(error)) < 2000, "the message is as long as the file likes")


def _look(content: bytes, file_format: str) -> None:
    read = 0

    def read_at(at: int, count: int) -> bytes:
        nonlocal read
        require(0 <= at < 2**63 and count >= 0, f"{count} bytes at {at}")
        found = content[at : at + count]
        read += len(found)
        require(read <= _MOST_READ_BYTES, "a header makes it read all of the file")
        return found

    found = look(ImageBytes(name="it", length=len(content), read_at=read_at), file_format)
    require(0 < found.size_bytes < 2**63 and found.format in FORMATS, f"{found}")


def try_archive(data: bytes) -> None:
    """An archive of disks: the only one, and one that a person names."""
    content = unpacked(data)
    read = 0

    def read_at(at: int, count: int) -> bytes:
        nonlocal read
        require(0 <= at < 2**63 and count >= 0, f"{count} bytes at {at}")
        found = content[at : at + count]
        read += len(found)
        require(read <= _MOST_OF_ARCHIVE_BYTES, "a header makes it read more than there is")
        return found

    archive = ImageBytes(name="it", length=len(content), read_at=read_at)
    for wanted in ("", "disk"):
        read = 0
        try:
            member = find_disk(archive, wanted)
        except VirtrbdError as error:
            require(len(str(error)) < 4000, "the message is as long as the archive likes")
            continue
        require(0 <= member.at <= member.at + member.length <= len(content), f"{member}")


TARGETS = (
    Target(
        name="image-file",
        about="an image file's own words: format, size, what it refers to",
        run=try_image_file,
        words=(
            "QFI\xfb",
            "KDMV",
            "# Disk DescriptorFile",
            "vhdxfile",
            "conectix",
            'RW 2048 SPARSE "',
            "json:",
            "nbd://",
        ),
    ),
    Target(
        name="archive",
        about="the headers of an OVA or another tar archive",
        run=try_archive,
        words=("ustar", "ustar  \0", "././@LongLink", "path=disk\n", "size=", "GNU.sparse.major=1\n", "../", "disk"),
    ),
)
