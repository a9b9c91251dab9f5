"""The header of a qcow2 file (docs/interop/qcow2.rst of QEMU)."""

import struct

from virtrbd.qemu.formats.image_bytes import ImageBytes, quoted

MAGIC = b"QFI\xfb"

# Version, backing name's offset and length, cluster bits, size, encryption, L1 entries and offset, refcount table's
# offset and clusters, snapshots and their offset.
_HEADER = struct.Struct(">4xIQIIQIIQQIIQ")
# Incompatible, compatible and autoclear features, refcount order, length of the header.
_VERSION_3 = struct.Struct(">QQQII")
_FIRST = struct.Struct(">I")
_EXTENSION = struct.Struct(">4sI")
_BITMAPS = struct.Struct(">I")

_DIRTY_BIT = 1
_DATA_FILE_BIT = 1 << 2
# Dirty, corrupt, data file, compression type, extended L2 entries.
_KNOWN_BITS = 0b11111
_CLUSTER_BITS = range(9, 22)
_REFCOUNT_ORDERS = range(7)
# QEMU's own limits (block/qcow2.h): 32 MiB of L1 table, 8 MiB of refcount table.
_MOST_L1_ENTRIES = 32 * 1024**2 // 8
_MOST_REFCOUNT_BYTES = 8 * 1024**2
# Each snapshot has an L1 table of its own, which a check reads through; QEMU allows 65,536. virtrbd imports
# neither them nor bitmaps.
_MOST_SNAPSHOTS = 1000
_MOST_BITMAPS = 1000
_MOST_EXTENSIONS = 100
# QEMU's limit for a name.
_NAME_BYTES = 1023


def read_size(image: ImageBytes) -> int:
    """Return the virtual size in bytes. Raises VirtrbdError for an image that is not whole."""
    (
        version,
        backing_at,
        backing_length,
        cluster_bits,
        size,
        encryption,
        l1,
        l1_at,
        ref_at,
        ref_clusters,
        snapshots,
        _,
    ) = image.unpack(_HEADER, 0)
    if version == 1:
        raise image.refused("is qcow of version 1", "convert it to qcow2 where it was made")
    if version not in (2, 3):
        raise image.damaged(f"it is qcow2 of version {version}")
    if cluster_bits not in _CLUSTER_BITS:
        raise image.damaged(f"clusters of 2^{cluster_bits} bytes")
    header_length = _require_features(image, cluster_bits) if version == 3 else _HEADER.size
    if backing_at or backing_length:
        raise image.refers_to(quoted(image.peek(backing_at, min(backing_length, _NAME_BYTES))) or "a backing file")
    if encryption:
        raise image.refused("is encrypted", "decrypt it where the key is")
    if l1 > _MOST_L1_ENTRIES or ref_clusters << cluster_bits > _MOST_REFCOUNT_BYTES:
        raise image.damaged(f"tables of {l1} L1 entries and {ref_clusters} refcount clusters")
    # QEMU finds an L1 table that is too short for the size.
    if not ref_at or (l1 and not l1_at):
        raise image.damaged("a table is missing")
    if snapshots > _MOST_SNAPSHOTS:
        raise image.refused(f"has {snapshots} snapshots", f"remove them, or keep {_MOST_SNAPSHOTS} at most")
    _require_harmless_extensions(image, header_length, 1 << cluster_bits)
    return size // 512 * 512


def is_dirty(image: ImageBytes) -> bool:
    """Whether its writer never closed it: with lazy refcounts its data is complete then, its counts may be wrong."""
    [version] = image.unpack(_FIRST, len(MAGIC))
    return version >= 3 and bool(image.unpack(_VERSION_3, _HEADER.size)[0] & _DIRTY_BIT)


def _require_features(image: ImageBytes, cluster_bits: int) -> int:
    """Return the length of the header of version 3."""
    incompatible, _, _, refcount_order, length = image.unpack(_VERSION_3, _HEADER.size)
    if incompatible & _DATA_FILE_BIT:
        raise image.refers_to("a data file")
    if incompatible & ~_KNOWN_BITS:
        raise image.refused(
            f"needs features that QEMU does not know ({incompatible:#x})", "convert it where it was made"
        )
    if refcount_order not in _REFCOUNT_ORDERS or not _HEADER.size + _VERSION_3.size <= length <= 1 << cluster_bits:
        raise image.damaged(f"a header of {length} bytes, refcounts of 2^{refcount_order} bits")
    return length


def _require_harmless_extensions(image: ImageBytes, at: int, end: int) -> None:
    """Go through the header's extensions, which lie between the header and the end of its cluster."""
    for _ in range(_MOST_EXTENSIONS):
        if at + _EXTENSION.size > min(end, image.length):
            return
        kind, length = _EXTENSION.unpack(image.get(at, _EXTENSION.size))
        at += _EXTENSION.size
        if kind == b"\0\0\0\0":
            return
        if length > end - at:
            raise image.damaged("an extension of its header is longer than the header")
        if kind == b"DATA":
            raise image.refers_to(quoted(image.peek(at, min(length, _NAME_BYTES))) or "a data file")
        if kind == b"\x05\x37\xbe\x77":
            raise image.refused("is encrypted", "decrypt it where the key is")
        if kind == b"\x23\x85\x28\x75" and image.unpack(_BITMAPS, at)[0] > _MOST_BITMAPS:
            raise image.refused("has more than 1,000 bitmaps", "remove them with qemu-img bitmap where it was made")
        at += (length + 7) // 8 * 8
    raise image.damaged(f"more than {_MOST_EXTENSIONS} extensions of its header")
