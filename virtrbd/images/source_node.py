"""The name of a file for QEMU's programs: its descriptor and its format, and no file that the file itself names."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from msgspec import Struct

from virtrbd.images.confined import other_user
from virtrbd.images.source_file import OpenFile, Source
from virtrbd.model.record import replace
from virtrbd.qemu.formats.image_bytes import SECTOR_BYTES
from virtrbd.qemu.formats.look import Look

# Only these of the six can have a backing file, and only they accept the statement that they have none.
_HAVE_BACKING = ("qcow2", "vmdk")


class Node(Struct, frozen=True, kw_only=True):
    """The name of an open image file, and the descriptor that the program needs for it; `path` is for messages.

    `server` is the process that reads the file for it, if there is one.
    """

    name: str
    descriptor: int
    path: str
    server: int | None = None


@contextmanager
def readable_node(source: Source) -> Iterator[Node]:
    """Yield the source for a program that runs as another user.

    Opening /proc/self/fd/N checks the rights to the file again. A file that others may not read comes from a
    qemu-nbd that runs as virtrbd and sees only raw bytes: half as slow again, but no other user gets rights.
    """
    if other_user() is None or source.is_readable_by_all:
        yield _node(source, _by_descriptor(source.file), source.file.descriptor)
        return
    # Here, not above: most files do not need it, and an import should be fast.
    from virtrbd.images.raw_server import serving

    raw = Look(format="raw", size_bytes=source.size_bytes)
    with serving(_named(raw, _by_descriptor(source.file)), source.file.descriptor, source.path) as served:
        address = {"type": "fd", "str": str(served.connection)}
        node = _node(source, {"driver": "nbd", "server": address}, served.connection)
        yield replace(node, server=served.server)


def own_node(path: str, descriptor: int, file_format: str) -> Node:
    """Return a regular file that virtrbd wrote itself."""
    file = {"driver": "file", "filename": f"/proc/self/fd/{descriptor}"}
    return Node(name=_named(Look(format=file_format, size_bytes=0), file), descriptor=descriptor, path=path)


def _node(source: Source, file: Mapping[str, object], descriptor: int) -> Node:
    if source.file.is_part:
        # QEMU takes whole sectors. The filling of the last one was found to be zeroes.
        length = -(-source.file.length // SECTOR_BYTES) * SECTOR_BYTES
        file = {"driver": "raw", "offset": source.file.at, "size": length, "file": file}
    return Node(name=_named(source.look, file), descriptor=descriptor, path=source.path)


def _by_descriptor(file: OpenFile) -> Mapping[str, object]:
    driver = "host_device" if file.is_block_device else "file"
    return {"driver": driver, "filename": f"/proc/self/fd/{file.descriptor}"}


def _named(look: Look, file: Mapping[str, object]) -> str:
    """Return QEMU's name for an image in this format, of these bytes, without a backing file, even if it names one."""
    node: dict[str, object] = {"driver": look.format, "file": file}
    if look.format in _HAVE_BACKING:
        node["backing"] = None
    if look.vhd_size_source:
        node["force_size_calc"] = look.vhd_size_source
    return f"json:{json.dumps(node)}"
