"""The disk image: MBR, a FAT partition with syslinux, systemd-boot and kernel, an ext4 partition for data.

Everything is written into a plain file: no loop device, no mount, no root.
"""

import struct
from pathlib import Path

from guestlib import RecipeError, run, tool

_SECTOR = 512
_MIB = 2**20
# The data partition starts and ends on 4 MiB, the size of an RBD object: a trim gives whole objects back.
_BOOT_START, _BOOT_SIZE = 1 * _MIB, 31 * _MIB
_DATA_START, _DATA_SIZE = 32 * _MIB, 96 * _MIB
_DISK_SIZE = 128 * _MIB
_FAT16_LBA, _LINUX = 0x0E, 0x83

_MBR_CODE = Path("/usr/lib/syslinux/mbr/mbr.bin")
_MBR_CODE_SIZE = 440
_SIGNATURE = 0x76724264  # the disk's own, so that builds are alike

_CONFIGURATION = """\
SERIAL 0 115200
DEFAULT guest
PROMPT 0
TIMEOUT 0
LABEL guest
  LINUX /vmlinuz.efi
  INITRD /initrd
  APPEND {options}
"""
# For UEFI, whose shell Debian's OVMF has no more: systemd-boot, which starts the only entry at once.
_BOOT_LOADER = Path("usr/lib/systemd/boot/efi/systemd-bootx64.efi")
_UEFI_ENTRY = "linux /vmlinuz.efi\ninitrd /initrd\noptions {options}\n"
# All but the first two are there for speed under emulation.
_KERNEL_OPTIONS = (
    "console=ttyS0,115200",
    "quiet",
    "nokaslr",  # saves relocating the whole kernel
    "mitigations=off",
    "no_timer_check",
    "random.trust_cpu=on",
)


def build(work: Path, *, tree: Path, kernel: Path, initrd: bytes) -> Path:
    """Write the image into the work folder and return its path; `tree`: the unpacked packages. Raises RecipeError."""
    raw = work / "disk.raw"
    with raw.open("wb") as image:
        image.write(_boot_record())
        image.truncate(_DISK_SIZE)
    _make_boot_partition(raw, tree / _BOOT_LOADER, kernel, initrd)
    _make_data_partition(raw)
    output = work / "disk.qcow2"
    run([tool("qemu-img", package="qemu-utils"), "convert", "-f", "raw", "-O", "qcow2", raw, output])
    return output


def _boot_record() -> bytes:
    """Return the first sector: boot code, disk signature, two partitions of which the first is active."""
    if not _MBR_CODE.exists():
        raise RecipeError(f"{_MBR_CODE} is missing — install the package syslinux-common")
    code = _MBR_CODE.read_bytes()[:_MBR_CODE_SIZE].ljust(_MBR_CODE_SIZE, b"\0")
    boot = _partition(0x80, _FAT16_LBA, _BOOT_START, _BOOT_SIZE)
    data = _partition(0, _LINUX, _DATA_START, _DATA_SIZE)
    return code + struct.pack("<IH", _SIGNATURE, 0) + (boot + data).ljust(64, b"\0") + b"\x55\xaa"


def _partition(flag: int, kind: int, start: int, size: int) -> bytes:
    """Return one entry of the partition table, offsets in bytes. Cylinders say "use the sector numbers"."""
    beyond = b"\xfe\xff\xff"
    return struct.pack("<B3sB3sII", flag, beyond, kind, beyond, start // _SECTOR, size // _SECTOR)


def _make_boot_partition(raw: Path, loader: Path, kernel: Path, initrd: bytes) -> None:
    if kernel.stat().st_size + len(initrd) > _BOOT_SIZE - _MIB:
        raise RecipeError("kernel and initramfs don't fit — raise _BOOT_SIZE in disk.py")
    options = " ".join(_KERNEL_OPTIONS)
    initrd_file, configuration, entry = (raw.with_name(name) for name in ("initrd", "syslinux.cfg", "guest.conf"))
    initrd_file.write_bytes(initrd)
    configuration.write_text(_CONFIGURATION.format(options=options))
    entry.write_text(_UEFI_ENTRY.format(options=options))
    place = f"{raw}@@{_BOOT_START}"
    sectors, hidden = _BOOT_SIZE // _SECTOR, _BOOT_START // _SECTOR
    # -H: where the partition starts, for the boot sector; -N: a serial number, so that builds are alike.
    layout = f"-T {sectors} -H {hidden} -c 8 -v BOOT -N 76726264"
    run([_mtool("mformat"), "-i", place, *layout.split()])
    run([tool("syslinux", package="syslinux"), "--install", "--offset", str(_BOOT_START), raw])
    run([_mtool("mmd"), "-i", place, "::/EFI", "::/EFI/BOOT", "::/loader", "::/loader/entries"])
    for source, name in (
        (configuration, "syslinux.cfg"),
        (initrd_file, "initrd"),
        (kernel, "vmlinuz.efi"),
        (loader, "EFI/BOOT/BOOTX64.EFI"),
        (entry, "loader/entries/guest.conf"),
    ):
        run([_mtool("mcopy"), "-i", place, source, f"::/{name}"], MTOOLS_SKIP_CHECK="1")


def _mtool(name: str) -> str:
    return tool(name, package="mtools")


def _make_data_partition(raw: Path) -> None:
    """Make the filesystem at its offset, tables and all: the guest shall be idle when it is up."""
    extended = f"offset={_DATA_START},lazy_itable_init=0,lazy_journal_init=0,nodiscard,root_owner=0:0"
    options = f"-q -F -t ext4 -L data -b 4096 -J size=4 -E {extended}"
    run([tool("mke2fs", package="e2fsprogs"), *options.split(), raw, f"{_DATA_SIZE // 1024}k"])
