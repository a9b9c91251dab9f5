"""The header of a VirtualBox disk image (block/vdi.c of QEMU)."""

import struct

from virtrbd.qemu.formats.image_bytes import SECTOR_BYTES, ImageBytes

MAGIC, MAGIC_AT = b"\x7f\x10\xda\xbe", 0x40

_TYPE = struct.Struct("<I")
_TYPE_AT = 0x4C
_SIZE = struct.Struct("<Q")
_SIZE_AT = 0x170
# The UUIDs of the disk that this one continues, and of that one's state.
_LINK_AT, _UUID_BYTES = 0x1A8, 16
_DYNAMIC, _STATIC = 1, 2


def read_size(image: ImageBytes) -> int:
    """Return the virtual size in bytes. Raises VirtrbdError for an image that is not whole by itself."""
    [kind] = image.unpack(_TYPE, _TYPE_AT)
    if kind not in (_DYNAMIC, _STATIC) or any(image.get(_LINK_AT, 2 * _UUID_BYTES)):
        raise image.refers_to("the disk that it continues")
    [size] = image.unpack(_SIZE, _SIZE_AT)
    return -(-size // SECTOR_BYTES) * SECTOR_BYTES
