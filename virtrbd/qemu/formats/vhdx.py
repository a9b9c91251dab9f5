"""The metadata of a VHDX file ([MS-VHDX]; block/vhdx.c of QEMU)."""

import struct
import uuid

from virtrbd.qemu.formats.image_bytes import SECTOR_BYTES, ImageBytes

MAGIC = b"vhdxfile"

_REGION_TABLES_AT = (192 * 1024, 256 * 1024)
_REGION_TABLE = struct.Struct("<4s4xI4x")
_REGION = struct.Struct("<16sQI4x")
_METADATA_TABLE = struct.Struct("<8s2xH20x")
_ITEM = struct.Struct("<16sIIQ")
_MOST_ENTRIES = 2047

_METADATA_REGION = uuid.UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e").bytes_le
_FILE_PARAMETERS = uuid.UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b").bytes_le
_DISK_SIZE = uuid.UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8").bytes_le
_PARENT_LOCATOR = uuid.UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c").bytes_le
_PARAMETERS = struct.Struct("<4xI")
_HAS_PARENT = 2
_SIZE = struct.Struct("<Q")


def read_size(image: ImageBytes) -> int:
    """Return the virtual size in bytes. Raises VirtrbdError for an image that is not whole."""
    # The two tables are copies. Where they differ, a reader may use either.
    sizes = {_size_by(image, at) for at in _REGION_TABLES_AT if image.peek(at, 4) == b"regi"}
    if len(sizes) != 1:
        raise image.damaged("its two region tables do not agree" if sizes else "its region tables are missing")
    return sizes.pop() // SECTOR_BYTES * SECTOR_BYTES


def _size_by(image: ImageBytes, table_at: int) -> int:
    """Return the size by this region table."""
    _, count = _REGION_TABLE.unpack(image.get(table_at, _REGION_TABLE.size))
    regions = _entries(image, _REGION, table_at + _REGION_TABLE.size, count)
    if _METADATA_REGION not in regions:
        raise image.damaged("its metadata is missing")
    at = regions[_METADATA_REGION][0]
    magic, count = _METADATA_TABLE.unpack(image.get(at, _METADATA_TABLE.size))
    if magic != b"metadata":
        raise image.damaged("its metadata is not where it should be")
    items = _entries(image, _ITEM, at + _METADATA_TABLE.size, count)
    if _PARENT_LOCATOR in items:
        raise image.refers_to("the disk that it continues")
    if not {_FILE_PARAMETERS, _DISK_SIZE} <= items.keys():
        raise image.damaged("its size is missing")
    [parameters] = image.unpack(_PARAMETERS, at + items[_FILE_PARAMETERS][0])
    if parameters & _HAS_PARENT:
        raise image.refers_to("the disk that it continues")
    [size] = image.unpack(_SIZE, at + items[_DISK_SIZE][0])
    return size


def _entries(image: ImageBytes, layout: struct.Struct, at: int, count: int) -> dict[bytes, tuple[int, ...]]:
    """Return the entries of a table by their GUID. Raises SpecError for a GUID that is there twice."""
    if count > _MOST_ENTRIES:
        raise image.damaged(f"a table of {count} entries")
    found: dict[bytes, tuple[int, ...]] = {}
    for guid, *numbers in layout.iter_unpack(image.get(at, count * layout.size) if count else b""):
        if guid in found:
            raise image.damaged("an entry of a table is there twice")
        found[guid] = tuple(numbers)
    return found
