"""Which of six formats an image file is of, and its virtual size.

QEMU never finds that out by itself: what it takes a file for it then follows, and a file may look like many things.
"""

from collections.abc import Callable
from dataclasses import dataclass

from virtrbd.qemu.formats import DISC, qcow2, vdi, vhd, vhdx, vmdk
from virtrbd.qemu.formats.disk_signs import is_disc, is_disk, stranger
from virtrbd.qemu.formats.image_bytes import SECTOR_BYTES, ImageBytes

# All of the head of a file that a format is known by.
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
# What is surely not meant as a raw disk, and what to do with it. `--format raw` imports it byte by byte.
_OTHERS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"LUKS\xba\xbe", "encrypted (LUKS)", "decrypt it where the key is"),
    (0, b"QED\0", "a QED image", _CONVERT),
    (0, b"WithoutFreeSpace", "a Parallels image", _CONVERT),
    (0, b"WithouFreSpacExt", "a Parallels image", _CONVERT),
)
# What has another file in it: of a file that is found there the same is asked again.
_WRAPPINGS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x1f\x8b\x08", "gzip"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    # pzstd says first, in a frame to skip, how long what follows is.
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
# What RBD and QEMU count in has 63 bits.
_MOST_BYTES = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What an image file is: its format, its virtual size, and how a VHD's size is found (else "").

    `is_dirty`: a qcow2 that was not closed, of which a check may find errors that are none.
    """

    format: str
    size_bytes: int
    vhd_size_source: str = ""
    is_dirty: bool = False


def look(image: ImageBytes, file_format: str = "") -> Look:
    """Return what the file is; with a format, what it is as that one.

    Raises VirtrbdError for a file that needs another one, is encrypted or of no format of these; SpecError for one that
    is damaged or holds nothing.
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
    """Return the program that packed the file or its members, "" for what is no archive and not compressed."""
    head = image.peek(0, _HEAD_BYTES)
    return next((program for at, magic, program in _WRAPPINGS if head.startswith(magic, at)), "")


def looks_like(image: ImageBytes) -> str:
    """Return the format that the first and the last sector show, "raw" for none. Raises VirtrbdError as `look` does."""
    head = image.peek(0, _HEAD_BYTES)
    for name, at, magic in _MAGICS:
        if head.startswith(magic, at):
            return name
    for at, magic, what, way_out in _OTHERS:
        if head.startswith(magic, at):
            raise image.refused(f"is {what}", f"{way_out}, or write --format raw for its bytes as they are")
    if program := wrapping_of(image):
        what = "a tar archive, as an OVA is" if program == "tar" else f"packed by {program}"
        raise image.refused(f"is {what}", "unpack it first, or write --format raw for its bytes as they are")
    end = image.peek(image.length - vhd.FOOTER_BYTES, vhd.FOOTER_BYTES)
    return "vpc" if vhd.is_fixed(end, image.length) else "raw"


def require_disk(image: ImageBytes) -> None:
    """Raise VirtrbdError for raw bytes that nothing shows to be a disk: no person means those."""
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
    """Raise SpecError where a file is not of the format that was named."""
    head = image.peek(0, _HEAD_BYTES)
    at_end = image.peek(image.length - vhd.FOOTER_BYTES, len(vhd.MAGIC)) == vhd.MAGIC
    known = any(name == file_format and head.startswith(magic, at) for name, at, magic in _MAGICS)
    if not known and not (file_format == "vpc" and at_end):
        raise image.not_of(file_format)
