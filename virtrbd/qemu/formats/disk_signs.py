"""The signs that raw bytes are a disk, and the signs that they are surely something else.

A raw disk has no format of its own. So a disk is recognised by its content: a boot sector, a
table of partitions, a file system, a volume. Places and magic numbers: libblkid's probers (util-linux, libblkid/src),
and each system's own description of itself.
"""

from virtrbd.qemu.formats.image_bytes import ImageBytes

# How much of the beginning is read: ZFS' first uberblocks are the farthest (128 KiB at 128 KiB).
HEAD_BYTES = 256 * 1024
_KIB = 1024
# Sectors of 512 and of 4096 bytes, of which each table counts in its own.
_SECTORS = (512, 4096)
_SIGNS: tuple[tuple[int, bytes], ...] = (
    (510, b"\x55\xaa"),  # a boot sector: MBR, FAT, NTFS, exFAT
    (512, b"EFI PART"), (4096, b"EFI PART"),  # GPT
    (0, b"ER\x02\x00"), (508, b"\xda\xbe"), (0, b"\x0b\xe5\xa9\x41"),  # Apple's, Sun's and SGI's partition tables
    (512, b"\x57\x45\x56\x82"), (64, b"\x57\x45\x56\x82"), (0, b"\x57\x45\x56\x82"),  # BSD's disklabel
    (512, b"LABELONE"), (0, b"LABELONE"), (1024, b"LABELONE"), (1536, b"LABELONE"),  # LVM2
    (0, b"\xfc\x4e\x2b\xa9"), (4096, b"\xfc\x4e\x2b\xa9"),  # Linux RAID 1.1, 1.2
    (1080, b"\x53\xef"),  # ext2, ext3, ext4
    (0, b"XFSB"), (64 * _KIB + 64, b"_BHRfS_M"), (4096 + 24, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca"),  # XFS, btrfs, …
    (4086, b"SWAPSPACE2"), (4086, b"SWAP-SPACE"), (8182, b"SWAPSPACE2"), (16374, b"SWAPSPACE2"), (65526, b"SWAPSPACE2"),
    (1024, b"\x10\x20\xf5\xf2"), (1030, b"\x34\x34"), (1024, b"\xe2\xe1\xf5\xe0"), (0, b"hsqs"),  # F2FS, NILFS, EROFS
    (32 * _KIB, b"JFS1"), (64 * _KIB + 52, b"ReIsEr"), (8 * _KIB + 52, b"ReIsEr"), (64 * _KIB, b"ReIsEr4"),
    (64 * _KIB, b"\x01\x16\x19\x70"), (8 * _KIB, b"OCFSV2"), (4 * _KIB, b"OCFSV2"), (2 * _KIB, b"OCFSV2"),  # GFS2
    (8 * _KIB + 1372, b"\x54\x19\x01\x00"), (64 * _KIB + 1372, b"\x54\x19\x01\x00"),  # UFS
    (8 * _KIB + 1372, b"\x19\x01\x54\x19"), (64 * _KIB + 1372, b"\x19\x01\x54\x19"),
    (1024, b"H+\x00"), (1024, b"HX\x00"), (32, b"NXSB"), (3, b"ReFS\x00"),  # HFS+, APFS
    (1040, b"\x7f\x13"), (1040, b"\x8f\x13"), (1040, b"\x68\x24"), (1040, b"\x78\x24"), (1048, b"\x5a\x4d"),  # Minix
    (0, b"bluestore block device"), (0, b"\xce\xfa\xad\x1b"), (0, b"\x45\x3d\xcd\x28"), (512, b"\x45\x3d\xcd\x28"),
)  # fmt: skip
_ZFS = (b"\x0c\xb1\xba\x00\x00\x00\x00\x00", b"\x00\x00\x00\x00\x00\xba\xb1\x0c")
_ZFS_FROM = 128 * _KIB
# A backup of GPT's header is in the last sector; Linux RAID 0.90 and 1.0 write to the end only.
_END_SIGNS = (b"EFI PART",)
_RAID_MAGIC = b"\xfc\x4e\x2b\xa9"

# An ISO 9660 or UDF disc, at the begin of its 17th sector. Hybrid ones have a boot sector too.
_DISC_AT, _DISC_SIGNS = 32 * _KIB + 1, (b"CD001", b"BEA01", b"NSR02", b"NSR03")
# A file that begins like this is not a disk, whatever else is in it.
_OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"LZIP", "packed by lzip"),
    (b"\x04\x22\x4d\x18", "packed by lz4"),
    (b"\x1f\x9d", "packed by compress"),
    (b"]\x00\x00", "packed by lzma"),
    (b"!<arch>\n", "an ar archive, as a .deb is"),
    (b"\xed\xab\xee\xdb", "an RPM package"),
    (b"070701", "a cpio archive"),
    (b"MSWIM\x00\x00\x00", "a WIM image"),
    (b"%PDF-", "a PDF document"),
    (b"\x7fELF", "a program"),
    (b"-----BEGIN ", "a text"),
)
_HTML = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<body", b"<error")
_TEXT_BYTES = 512


def is_disc(image: ImageBytes) -> bool:
    """Whether the bytes are those of a CD or a DVD."""
    return image.peek(_DISC_AT, 5) in _DISC_SIGNS


def is_disk(image: ImageBytes) -> bool:
    """Whether any sign shows that the bytes are a disk."""
    head = image.peek(0, HEAD_BYTES)
    if any(head.startswith(sign, at) for at, sign in _SIGNS):
        return True
    # ZFS writes a number of them, each in its place of 1 KiB.
    if any(head.startswith(_ZFS, at) for at in range(_ZFS_FROM, HEAD_BYTES, _KIB)):
        return True
    ends = (image.peek(image.length - sector, 8) for sector in _SECTORS)
    return any(end.startswith(_END_SIGNS) for end in ends) or _has_raid_at_end(image)


def stranger(image: ImageBytes) -> str:
    """Return what the bytes surely are instead of a disk, "" without a sign."""
    head = image.peek(0, _TEXT_BYTES)
    for magic, what in _OTHERS:
        if head.startswith(magic):
            return what
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text[:16].lower().startswith(_HTML):
        return "a web page or another document, as a server sends instead of a file"
    return "a text" if _is_text(head) else ""


def _is_text(head: bytes) -> bool:
    if not head.strip():
        return False
    return all(byte >= 0x20 or byte in b"\t\n\r\f\x1b" for byte in head) and _is_utf8(head)


def _is_utf8(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        # Cut within its last character. A boot sector's last byte, AA, does not begin one.
        return error.reason == "unexpected end of data"
    return True


def _has_raid_at_end(image: ImageBytes) -> bool:
    """Whether a Linux RAID superblock is where 0.90 (in the last 64 to 128 KiB) or 1.0 (8 to 12 KiB) has it."""
    old_at = image.length // (64 * _KIB) * 64 * _KIB - 64 * _KIB
    new_at = (image.length // 512 - 16) // 8 * 8 * 512
    return any(image.peek(at, 4) == _RAID_MAGIC for at in (old_at, new_at))
