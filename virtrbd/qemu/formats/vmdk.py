"""The header and the descriptor of a VMDK file (VMware's Virtual Disk Format 5.0; block/vmdk.c of QEMU)."""

import re
import struct

from virtrbd.errors import VirtrbdError
from virtrbd.qemu.formats.image_bytes import SECTOR_BYTES, ImageBytes, quoted

MAGIC = b"KDMV"
# Only a descriptor: its data lies in the files that it names. ESX's old sparse extents need one too.
DESCRIPTOR_MAGIC, OLD_MAGIC = b"# Disk DescriptorFile", b"COWD"

# Capacity in sectors, the embedded descriptor's place and length, where the grain directory is.
_HEADER = struct.Struct("<12xQ8xQQ12xQ")
_AT_THE_END = 0xFFFFFFFFFFFFFFFF
# A streamed VMDK has its header again at its end: marker, header, marker of the end, a sector each.
_FOOTER_FROM_END = 2 * SECTOR_BYTES
_WHOLE_TYPES = (b"monolithicSparse", b"streamOptimized")
_MOST_DESCRIPTOR_SECTORS = 128
_NO_PARENT = b"ffffffff"


def read_size(image: ImageBytes) -> int:
    """Return the virtual size in bytes. Raises VirtrbdError for an image that is not whole."""
    if image.peek(0, len(MAGIC)) != MAGIC:
        raise _needs_others(image)
    capacity, descriptor_at, descriptor_sectors, directory = image.unpack(_HEADER, 0)
    if directory == _AT_THE_END:
        footer_at = image.length - _FOOTER_FROM_END
        if image.peek(footer_at, len(MAGIC)) != MAGIC:
            raise image.damaged("its footer is missing")
        # QEMU takes everything from the footer except the descriptor.
        in_header, (capacity, *_) = capacity, image.unpack(_HEADER, footer_at)
        if not in_header:
            raise image.refers_to("the files that its descriptor names")
    # A header without a size only wraps a descriptor.
    if not capacity:
        raise image.refers_to("the files that its descriptor names")
    if not descriptor_at or not descriptor_sectors:
        raise image.refused("is one of the files of a VMDK", "convert the whole VMDK where it was made")
    if descriptor_sectors > _MOST_DESCRIPTOR_SECTORS:
        raise image.damaged(f"a descriptor of {descriptor_sectors} sectors")
    _require_whole(image, image.get(descriptor_at * SECTOR_BYTES, descriptor_sectors * SECTOR_BYTES))
    return capacity * SECTOR_BYTES


def _require_whole(image: ImageBytes, descriptor: bytes) -> None:
    """Raise VirtrbdError where the descriptor names other files. Its name for this file does not matter."""
    parents = re.findall(rb"^[ \t]*parentCID[ \t]*=[ \t]*(\w*)", descriptor, re.MULTILINE)
    # QEMU looks for this word anywhere.
    hints = re.findall(rb"parentFileNameHint[ \t]*=?[ \t]*\"?([^\"\r\n\0]*)", descriptor)
    if hints or any(each.lower() != _NO_PARENT for each in parents):
        raise image.refers_to(quoted(hints[0]) if hints else "the disk that it continues")
    types = re.findall(rb"^[ \t]*createType[ \t]*=[ \t]*\"?(\w*)", descriptor, re.MULTILINE)
    extents = _extents(descriptor)
    if len(types) != 1 or types[0] not in _WHOLE_TYPES or len(extents) > 1:
        raise image.refers_to(quoted(extents[-1]) if extents else "other files")


def _needs_others(image: ImageBytes) -> VirtrbdError:
    """Return the error for a file that is not a VMDK of one file."""
    head = image.peek(0, _MOST_DESCRIPTOR_SECTORS * SECTOR_BYTES)
    if names := _extents(head):
        return image.refers_to(quoted(names[0]))
    if head.startswith((DESCRIPTOR_MAGIC, OLD_MAGIC)):
        return image.refers_to("the files that its descriptor names")
    return image.damaged("it does not begin like a VMDK")


def _extents(descriptor: bytes) -> list[bytes]:
    """Return the names of the files that the descriptor names as the disk's parts."""
    return re.findall(
        rb"^[ \t]*(?:RW|RDONLY|NOACCESS)[ \t]+\d+[ \t]+\w+[ \t]+\"([^\"\r\n]*)\"", descriptor, re.MULTILINE
    )
