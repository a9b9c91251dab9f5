"""The header of a VirtualBox disk image (block/vdi.c of QEMU)."""

import struct

from virtrbd.qemu.formats.image_bytes import SECTOR_BYTES, ImageBytes

MAGIC, MAGIC_AT = b"\x7f\x10\xda\xbe", 0x40

_TYPE = struct.Struct("<I")
_TYPE_AT = 0x4C
_SIZE = struct.Struct("<Q")
_SIZE_AT = 0x170
# The UUIDs of the disk that this disk continues, and of that disk's state.
_LINK_AT, _UUID_BYTES = 0x1A8, 16
_DYNAMIC, _STATIC = 1, 2
_DATA = struct.Struct("<I")
_DATA_AT = 0x158
# Bytes of a block, and beyond it, blocks of the disk, blocks that the file holds.
_BLOCKS = struct.Struct("<IIII")
_BLOCKS_AT = 0x178


def read_size(image: ImageBytes) -> int:
    """Return the virtual size in bytes. Raises VirtrbdError for an image that is not whole."""
    [kind] = image.unpack(_TYPE, _TYPE_AT)
    if kind not in (_DYNAMIC, _STATIC) or any(image.get(_LINK_AT, 2 * _UUID_BYTES)):
        raise image.refers_to("the disk that it continues")
    [size] = image.unpack(_SIZE, _SIZE_AT)
    [data_at] = image.unpack(_DATA, _DATA_AT)
    block_bytes, more_bytes, _, held = image.unpack(_BLOCKS, _BLOCKS_AT)
    # `qemu-img check` looks at the table of the blocks, but not for the blocks themselves.
    if data_at + held * (block_bytes + more_bytes) > image.length:
        raise image.damaged(f"it should hold {held} blocks")
    return -(-size // SECTOR_BYTES) * SECTOR_BYTES
