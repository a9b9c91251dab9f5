"""The format of an image file, one of six, and its virtual size.

QEMU never guesses it: QEMU acts on the format that it takes a file for, and a file may look like many formats.
"""

from collections.abc import Callable

from msgspec import Struct

from virtrbd.qemu.formats import DISC, qcow2, vdi, vhd, vhdx, vmdk
from virtrbd.qemu.formats.disk_signs import is_disc, is_disk, stranger
from virtrbd.qemu.formats.image_bytes import SECTOR_BYTES, ImageBytes

# The length of the head of a file by which formats are recognised.
_HEAD_BYTES = 512
_MAGICS: tuple[tuple[str, int, bytes], ...] = (
    ("qcow2", 0, qcow2.MAGIC),
    ("vmdk", 0, vmdk.MAGIC),
    ("vmdk", 0, vmdk.DESCRIPTOR_MAGIC),
    ("vmdk", 0, vmdk.OLD_MAGIC),
    ("vhdx", 0, vhdx.MAGIC),
    ("vpc", 0, vhd.MAGIC),
    ("vdi", vdi.MAGIC_AT, vdi.MAGIC),
)
_CONVERT = "convert it to qcow2 where it was made"
# Files that are surely not meant as a raw disk, and what to do with them. `--format raw` imports them byte by byte.
_OTHERS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"LUKS\xba\xbe", "encrypted (LUKS)", "decrypt it where the key is"),
    (0, b"QED\0", "a QED image", _CONVERT),
    (0, b"WithoutFreeSpace", "a Parallels image", _CONVERT),
    (0, b"WithouFreSpacExt", "a Parallels image", _CONVERT),
)
# Files that hold another file, which is then looked at in the same way.
_WRAPPINGS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x1f\x8b\x08", "gzip"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    # pzstd begins with a frame to skip, which holds the length of the next frame.
    (0, b"\x50\x2a\x4d\x18", "zstd"),
    (0, b"BZh", "bzip2"),
    (257, b"ustar", "tar"),
)
_READERS: dict[str, Callable[[ImageBytes], int]] = {
    "qcow2": qcow2.read_size,
    "vdi": vdi.read_size,
    "vhdx": vhdx.read_size,
    "vmdk": vmdk.read_size,
    "vpc": vhd.read_size,
}
# RBD and QEMU count in 63 bits.
_MOST_BYTES = 2**63 - 1


class Look(Struct, frozen=True, kw_only=True):
    """The facts of an image file: its format, its virtual size, and how a VHD's size is found (else "").

    `is_dirty`: a qcow2 that was not closed, in which a check may report false errors.
    """

    format: str
    size_bytes: int
    vhd_size_source: str = ""
    is_dirty: bool = False


def look(image: ImageBytes, file_format: str = "") -> Look:
    """Return the facts of the file; with a format, as a file of that format.

    Raises VirtrbdError for a file that needs another file, is encrypted or of an unknown format; SpecError for a file
    that is damaged or empty.
    """
    found = file_format or looks_like(image)
    if file_format == DISC and not is_disc(image):
        raise image.not_of(file_format)
    if found in ("raw", DISC):
        found = "raw"
        if not file_format:
            require_disk(image)
        size = -(-image.length // SECTOR_BYTES) * SECTOR_BYTES
    else:
        _require_magic(image, found)
        size = _READERS[found](image)
    if size > _MOST_BYTES:
        raise image.damaged(f"a size of {size} bytes")
    if not size:
        raise image.damaged("a disk of 0 bytes") if image.length else image.empty()
    return Look(
        format=found,
        size_bytes=size,
        vhd_size_source=vhd.size_source(image) if found == "vpc" else "",
        is_dirty=found == "qcow2" and qcow2.is_dirty(image),
    )


def wrapping_of(image: ImageBytes) -> str:
    """Return the program that packed the file or its members, "" for a file that is neither packed nor an archive."""
    head = image.peek(0, _HEAD_BYTES)
    return next((program for at, magic, program in _WRAPPINGS if head.startswith(magic, at)), "")


def looks_like(image: ImageBytes) -> str:
    """Return the format that the first and the last sector show, else "raw". Raises VirtrbdError as `look` does."""
    head = image.peek(0, _HEAD_BYTES)
    for name, at, magic in _MAGICS:
        if head.startswith(magic, at):
            return name
    for at, magic, what, way_out in _OTHERS:
        if head.startswith(magic, at):
            raise image.refused(f"is {what}", f"{way_out}, or write --format raw for its bytes as they are")
    if program := wrapping_of(image):
        what = "a tar archive, such as an OVA" if program == "tar" else f"packed by {program}"
        raise image.refused(f"is {what}", "unpack it first, or write --format raw for its bytes as they are")
    end = image.peek(image.length - vhd.FOOTER_BYTES, vhd.FOOTER_BYTES)
    return "vpc" if vhd.is_fixed(end, image.length) else "raw"


def require_disk(image: ImageBytes) -> None:
    """Raise VirtrbdError for raw bytes without a sign of a disk: that is probably the wrong file."""
    as_they_are = "or write --format raw for its bytes as they are"
    if what := stranger(image):
        raise image.refused(f"is {what}, not a disk", f"name the right file, {as_they_are}")
    if is_disc(image):
        raise image.refused(
            "is a CD or DVD (ISO 9660 or UDF), not a disk", f"write --format {DISC} for a CD-ROM drive, {as_they_are}"
        )
    if image.length and not is_disk(image):
        fact = "has no partition table, file system or boot sector that virtrbd knows"
        raise image.refused(fact, f"name the right file, {as_they_are}")


def _require_magic(image: ImageBytes, file_format: str) -> None:
    """Raise SpecError where a file does not have the stated format."""
    head = image.peek(0, _HEAD_BYTES)
    at_end = image.peek(image.length - vhd.FOOTER_BYTES, len(vhd.MAGIC)) == vhd.MAGIC
    known = any(name == file_format and head.startswith(magic, at) for name, at, magic in _MAGICS)
    if not known and not (file_format == "vpc" and at_end):
        raise image.not_of(file_format)
