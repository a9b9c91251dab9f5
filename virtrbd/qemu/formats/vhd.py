"""The footer of a VHD file (Microsoft's Virtual Hard Disk Image Format; block/vpc.c of QEMU)."""

import struct

from virtrbd.qemu.formats.image_bytes import SECTOR_BYTES, ImageBytes

MAGIC = b"conectix"
FOOTER_BYTES = 512

# Creator, current size, geometry, type.
_FOOTER = struct.Struct(">28x4s16xQHBBI")
_CHECKSUM = struct.Struct(">I")
_CHECKSUM_AT = 64
_FIXED, _DYNAMIC, _DIFFERENCING = 2, 3, 4
# These two measure a disk by its geometry, all others by its size; QEMU knows that from 10 on, so virtrbd states it.
_COUNT_BY_GEOMETRY = (b"vpc ", b"qemu")
_LARGEST_GEOMETRY = 65535 * 16 * 255


def is_fixed(footer: bytes, length: int) -> bool:
    """Whether the last bytes of a file are the footer of a fixed VHD, which has no sign at its beginning.

    A raw disk may end with similar bytes. So checksum, type and size must all match.
    """
    if len(footer) < FOOTER_BYTES or not footer.startswith(MAGIC):
        return False
    _, size, _, _, _, kind = _FOOTER.unpack_from(footer)
    [said] = _CHECKSUM.unpack_from(footer, _CHECKSUM_AT)
    counted = sum(footer) - sum(footer[_CHECKSUM_AT : _CHECKSUM_AT + _CHECKSUM.size])
    return bool(kind == _FIXED and size + FOOTER_BYTES == length and said == ~counted & 0xFFFFFFFF)


def read_size(image: ImageBytes) -> int:
    """Return the virtual size in bytes. Raises VirtrbdError for an image that is not whole."""
    footer = _footer(image)
    kind = _FOOTER.unpack_from(footer)[-1]
    if kind == _DIFFERENCING:
        raise image.refers_to("the disk that it continues")
    if kind not in (_FIXED, _DYNAMIC):
        raise image.damaged(f"it is a VHD of type {kind}")
    _, size, cylinders, heads, sectors, _ = _FOOTER.unpack_from(footer)
    if size_source(image) == "chs":
        return int(cylinders * heads * sectors) * SECTOR_BYTES
    return int(size) // SECTOR_BYTES * SECTOR_BYTES


def size_source(image: ImageBytes) -> str:
    """Return the measure of the size, in QEMU's words: "chs", the geometry, or "current_size"."""
    creator, _, cylinders, heads, sectors, _ = _FOOTER.unpack_from(_footer(image))
    by_geometry = creator in _COUNT_BY_GEOMETRY and cylinders * heads * sectors != _LARGEST_GEOMETRY
    return "chs" if by_geometry else "current_size"


def _footer(image: ImageBytes) -> bytes:
    """Return the footer; a dynamic VHD begins with a copy of it, which QEMU uses."""
    for at in (0, image.length - FOOTER_BYTES):
        footer = image.peek(at, FOOTER_BYTES)
        if len(footer) == FOOTER_BYTES and footer.startswith(MAGIC):
            return footer
    raise image.damaged("its footer is missing")
