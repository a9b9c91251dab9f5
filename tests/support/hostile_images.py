"""Image files that lead elsewhere, lie or ask for too much, made byte by byte: a corpus for whatever reads them.

Most are valid for QEMU: only who looks first is not led away.
"""

import struct
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CLUSTER = 65536
MIB = 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Hostile:
    """Bytes of a file, and words of the message that refuses it; `code` is the exit code of an import."""

    content: bytes
    says: str
    code: int = 5


def qcow2(
    *,
    version: int = 3,
    backing: bytes = b"",
    backing_length: int | None = None,
    cluster_bits: int = 16,
    encryption: int = 0,
    l1_entries: int = 1,
    snapshots: int = 0,
    incompatible: int = 0,
    refcount_order: int = 4,
    header_length: int = 104,
    extensions: Sequence[tuple[bytes, bytes]] = (),
) -> bytes:
    """Return an empty qcow2 of 1 MiB: header, refcount table, refcount block, L1 table, a cluster each."""
    backing_at = 4096 if backing else 0
    length = len(backing) if backing_length is None else backing_length
    tables = struct.pack(">IQQIIQ", l1_entries, 3 * CLUSTER, CLUSTER, 1, snapshots, 3 * CLUSTER if snapshots else 0)
    head = b"QFI\xfb" + struct.pack(">IQIIQI", version, backing_at, length, cluster_bits, MIB, encryption) + tables
    if version == 3:
        head += struct.pack(">QQQII", incompatible, 0, 0, refcount_order, header_length)
    for magic, data in extensions:
        head += magic + struct.pack(">I", len(data)) + data.ljust(-(-len(data) // 8) * 8, b"\0")
    first = (head + bytes(8)).ljust(4096, b"\0") + backing
    counts = struct.pack(">4H", 1, 1, 1, 1).ljust(CLUSTER, b"\0")
    return first.ljust(CLUSTER, b"\0") + struct.pack(">Q", 2 * CLUSTER).ljust(CLUSTER, b"\0") + counts + bytes(CLUSTER)


def vmdk(descriptor: bytes, *, capacity: int = 2048, descriptor_at: int = 1, at_end: bool = False) -> bytes:
    """Return a sparse VMDK with a descriptor in it, and no data; `at_end`: its directory is named by a footer."""
    directory = 0xFFFFFFFFFFFFFFFF if at_end else 21
    sectors = 20 if descriptor_at else 0
    places = (descriptor_at, sectors, 512, 0, directory, 128)
    head = struct.pack("<4sIIQQQQIQQQB4sH", b"KDMV", 3, 3, capacity, 128, *places, 0, b"\n \r\n", 0)
    return head.ljust(512, b"\0") + descriptor.ljust(20 * 512, b"\0") + bytes(MIB)


def descriptor(
    *extents: bytes, kind: bytes = b"monolithicSparse", parent: bytes = b"ffffffff", more: bytes = b""
) -> bytes:
    """Return the text that says what a VMDK consists of."""
    lines = [b"# Disk DescriptorFile", b"version=1", b"CID=fffffffe", b"parentCID=" + parent, b'createType="%s"' % kind]
    return b"\n".join([*lines, more, *(b"RW 2048 " + extent for extent in extents), b'ddb.adapterType = "ide"', b""])


def vhdx(*, flags: int = 0, items: Sequence[tuple[str, bytes]] = (), entries: int | None = None) -> bytes:
    """Return the metadata of a VHDX of 1 MiB."""
    found = [
        ("caa16737-fa36-4d43-b3b6-33f0aa44e76b", struct.pack("<II", MIB, flags)),
        ("2fa54224-cd1b-4876-b211-5dbed83bf4b8", struct.pack("<Q", MIB)),
        *items,
    ]
    count = len(found) if entries is None else entries
    table, data = struct.pack("<8s2xH20x", b"metadata", count), b""
    for guid, value in found:
        table += struct.pack("<16sIIQ", uuid.UUID(guid).bytes_le, CLUSTER + len(data), len(value), 0)
        data += value
    region = struct.pack("<4sIII", b"regi", 0, 1, 0)
    region += struct.pack("<16sQII", uuid.UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e").bytes_le, MIB, MIB, 1)
    head = b"vhdxfile".ljust(192 * 1024, b"\0") + region.ljust(64 * 1024, b"\0") * 2
    return head.ljust(MIB, b"\0") + table.ljust(CLUSTER, b"\0") + data.ljust(CLUSTER, b"\0")


def vhd(kind: int, *, size: int = MIB, creator: bytes = b"win ") -> bytes:
    """Return the footer of a VHD."""
    footer = struct.pack(
        ">8sIIQI4sIIQQHBBII", b"conectix", 2, 0x10000, 512, 0, creator, 0, 0, size, size, 30, 4, 17, kind, 0
    )
    footer = footer.ljust(512, b"\0")
    return footer[:64] + struct.pack(">I", ~sum(footer) & 0xFFFFFFFF) + footer[68:]


def vdi(*, kind: int = 1, link: bytes = bytes(16)) -> bytes:
    """Return the header of a VDI of 1 MiB."""
    head = bytearray(b"<<< QEMU VM Virtual Disk Image >>>\n".ljust(MIB, b"\0"))
    struct.pack_into("<IIIII", head, 0x40, 0xBEDA107F, 0x10001, 0x180, kind, 0)
    struct.pack_into("<II", head, 0x154, 512, 1024)
    struct.pack_into("<I4xQIII", head, 0x168, 512, MIB, MIB, 0, 1)
    head[0x1A8:0x1B8] = link
    return bytes(head)


def hostile_images(folder: Path, port: int) -> Mapping[str, Hostile]:
    """Return the corpus. What it leads to: `folder`/secret, `folder`/nbd, `folder`/log, and the port of this host."""
    return {**_backed(folder, port), **_of_other_kinds(folder), **_excessive(), **_of_no_format()}


def _backed(folder: Path, port: int) -> dict[str, Hostile]:
    """A qcow2 whose data is said to lie elsewhere."""
    names = {
        "rbd": b"rbd:x/y:conf=/dev/null:log_file=%s/log:keyring=/y\n* * * * * root id" % bytes(folder),
        "rbd-plugins": b"rbd:x/y:conf=/dev/null:rbd_plugins=x:plugin_dir=%s" % bytes(folder),
        "nbd": b"nbd://127.0.0.1:%d/x" % port,
        "nbd-unix": b"nbd+unix:///x?socket=%s/nbd" % bytes(folder),
        "json": b'json:{"driver":"raw","file":{"driver":"file","filename":"%s/secret"}}' % bytes(folder),
        "json-nbd": b'json:{"driver":"nbd","server":{"type":"inet","host":"127.0.0.1","port":"%d"}}' % port,
        "absolute": b"%s/secret" % bytes(folder),
        "relative": b"secret",
        "above": b"../../../../../../../etc/shadow",
        "escapes": b"\x1b[2Jsecret\nweb-01: ok",
        "long": b"a" * 1023,
    }
    raw = (b"\xe2\x79\x2a\xca", b"raw")
    files = {f"backing-{name}": qcow2(backing=text, extensions=[raw]) for name, text in names.items()}
    secret = (b"DATA", b"%s/secret" % bytes(folder))
    files |= {
        "backing-of-version-2": qcow2(version=2, backing=b"secret"),
        "backing-without-a-length": qcow2(backing=b"secret", backing_length=0),
        "backing-beyond-the-file": qcow2(backing=b"secret", backing_length=2**32 - 1),
        "data-file": qcow2(incompatible=4, extensions=[secret]),
        "data-file-without-a-name": qcow2(incompatible=4),
        "data-file-without-its-bit": qcow2(extensions=[raw, secret]),
        "data-file-nbd": qcow2(incompatible=4, extensions=[(b"DATA", b"nbd://127.0.0.1:%d/x" % port)]),
    }
    return {name: Hostile(content=content, says="refers to") for name, content in files.items()}


def _of_other_kinds(folder: Path) -> dict[str, Hostile]:
    secret = b'FLAT "%s/secret" 0' % bytes(folder)
    own = b'SPARSE "x.vmdk"'
    locator = ("a8d35f2d-b30b-454d-abf7-d3d84834ab0c", b"x" * 20)
    files = {
        "vmdk-flat": descriptor(secret, kind=b"monolithicFlat"),
        "vmdk-without-extents": descriptor(kind=b"monolithicFlat"),
        "vmdk-of-two-files": descriptor(b'SPARSE "x-s001.vmdk"', secret, kind=b"twoGbMaxExtentSparse"),
        "vmdk-embedded-flat": vmdk(descriptor(secret, kind=b"monolithicFlat")),
        "vmdk-embedded-in-nothing": vmdk(descriptor(secret, kind=b"monolithicFlat"), capacity=0),
        "vmdk-embedded-in-nothing-but-a-footer": (
            vmdk(descriptor(secret, kind=b"monolithicFlat"), capacity=0, at_end=True) + vmdk(b"")[:512] + bytes(512)
        ),
        "vmdk-two-extents": vmdk(descriptor(own, secret)),
        "vmdk-two-types": vmdk(descriptor(own, more=b'createType="vmfs"')),
        "vmdk-parent": vmdk(
            descriptor(own, parent=b"12345678", more=b'parentFileNameHint="%s/secret"' % bytes(folder))
        ),
        "vmdk-parent-alone": vmdk(descriptor(own, parent=b"12345678")),
        "vmdk-parent-in-a-comment": vmdk(descriptor(own, more=b'# parentFileNameHint="secret"')),
        "vmdk-of-esx": b"COWD" + bytes(4096),
        "vhdx-parent": vhdx(flags=2),
        "vhdx-parent-locator": vhdx(items=[locator]),
        "vhd-differencing": vhd(4) + b"cxsparse".ljust(1024, b"\0") + vhd(4),
        "vdi-differencing": vdi(kind=4),
        "vdi-linked": vdi(link=b"x" * 16),
    }
    part = Hostile(content=vmdk(b"", descriptor_at=0), says="is one of the files of a VMDK")
    return {"vmdk-part": part, **{name: Hostile(content=content, says="refers to") for name, content in files.items()}}


def _excessive() -> dict[str, Hostile]:
    """Numbers that cost time or memory, or that no writer of images makes."""
    bitmaps = (b"\x23\x85\x28\x75", struct.pack(">IIQQ", 65535, 0, 65535 * 32, 3 * CLUSTER))
    damaged = {
        "clusters-of-2-bytes": qcow2(cluster_bits=1),
        "clusters-of-2-to-the-31": qcow2(cluster_bits=31),
        "clusters-beyond-numbers": qcow2(cluster_bits=2**32 - 1),
        "l1-of-32-gib": qcow2(l1_entries=2**32 - 1),
        "refcounts-of-2-to-the-60": qcow2(refcount_order=60),
        "qcow2-of-version-9": qcow2(version=9),
        "short-header": qcow2(header_length=8),
        "endless-header": qcow2(header_length=2**32 - 8),
        "endless-extension": qcow2(extensions=[(b"abcd", bytes(4000))]).replace(
            struct.pack(">I", 4000), b"\xff" * 4, 1
        ),
        "many-extensions": qcow2(extensions=[(b"abcd", b"")] * 400),
        "vhdx-of-60000-items": vhdx(entries=60000),
        "vhdx-of-no-size": vhdx().replace(uuid.UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8").bytes_le, bytes(16)),
        "vhd-of-another-type": vhd(7) + bytes(MIB),
        "vmdk-of-2-to-the-63-sectors": vmdk(descriptor(b'SPARSE "x"'), capacity=2**63),
        "vmdk-with-its-descriptor-beyond": vmdk(descriptor(b'SPARSE "x"'), descriptor_at=2**55),
        "cut-in-the-header": qcow2()[:60],
        "one-magic": b"QFI\xfb",
        "vmdk-magic": b"KDMV",
        "vhdx-magic": b"vhdxfile",
        "vhdx-cut": vhdx()[: 192 * 1024],
        "vdi-cut": vdi()[:0x100],
        "vmdk-without-its-footer": vmdk(descriptor(b'SPARSE "x"', kind=b"streamOptimized"), at_end=True),
    }
    return {
        "snapshots": Hostile(content=qcow2(snapshots=65000), says="has 65000 snapshots"),
        "bitmaps": Hostile(content=qcow2(extensions=[bitmaps]), says="bitmaps"),
        "encrypted": Hostile(content=qcow2(encryption=1), says="is encrypted"),
        "encrypted-luks": Hostile(content=qcow2(encryption=2), says="is encrypted"),
        "encrypted-by-its-extension": Hostile(
            content=qcow2(extensions=[(b"\x05\x37\xbe\x77", bytes(16))]), says="encrypted"
        ),
        "unknown-features": Hostile(content=qcow2(incompatible=1 << 40), says="needs features that QEMU does not know"),
        "qcow": Hostile(content=qcow2(version=1), says="is qcow of version 1"),
        **{
            name: Hostile(content=content, says="is damaged or cut short", code=65) for name, content in damaged.items()
        },
    }


def _of_no_format() -> dict[str, Hostile]:
    """What is no disk, or one of a seventh format."""
    return {
        "luks": Hostile(content=b"LUKS\xba\xbe\0\2" + bytes(MIB), says="is encrypted (LUKS)"),
        "qed": Hostile(content=b"QED\0" + bytes(MIB), says="is a QED image"),
        "parallels": Hostile(content=b"WithoutFreeSpace" + bytes(MIB), says="is a Parallels image"),
        "gzip": Hostile(content=b"\x1f\x8b\x08" + bytes(MIB), says="is packed by gzip"),
        "xz": Hostile(content=b"\xfd7zXZ\0" + bytes(MIB), says="is packed by xz"),
        "ova": Hostile(content=bytes(257) + b"ustar" + bytes(MIB), says="is a tar archive"),
        "nothing": Hostile(content=b"", says="is empty; there is nothing to import", code=65),
    }
