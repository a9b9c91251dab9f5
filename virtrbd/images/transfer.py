"""Bulk transfers between files and images."""

import os
import struct
import time
import uuid
from contextlib import suppress
from functools import partial
from pathlib import Path

from msgspec import Struct

from virtrbd.ceph.bytewise import SECTOR_BYTES, copy_bytes, read_bytes
from virtrbd.ceph.pools import refuse_full
from virtrbd.deadline import begin
from virtrbd.ending import finishing
from virtrbd.errors import ClusterError, DeniedError, UnavailableError, VirtrbdError
from virtrbd.images.ceph_access import ceph_access
from virtrbd.images.confined import Rights
from virtrbd.images.host import Host
from virtrbd.images.qemu_img import Work, run_qemu_img
from virtrbd.images.source_file import Source
from virtrbd.images.source_node import Node, own_node, readable_node
from virtrbd.model.image import ImageRef
from virtrbd.model.record import replace
from virtrbd.printable import shell_command

# -n and --target-is-zero: the target was just made by librbd, and no zeroes are written to it; -W with -m 16: out of
# order, 16 requests at a time; without -W, -m changes nothing.
_INTO_NEW = ("convert", "-p", "-n", "--target-is-zero", "-W", "-m", "16", "-O", "raw")
# A guest's data may look like another format, and name files of this host: an image is read as raw.
_AS_IT_IS = ("-f", "raw")
# How often a transfer checks whether its pool is full: the writer itself would wait for ever.
_FULL_EVERY_S = 2.0
# Unpacking the slowest of compressed images takes a tenth of this time; an endless one is ended.
_LEAST_CPU_S, _BYTES_A_CPU_S = 600, 4 * 1024**2
_MEMORY_BYTES = 8 * 1024**3
# Where the header of a qcow2 file keeps the size of its disk (docs/interop/qcow2.txt of QEMU).
_QCOW2_SIZE_AT = 24


def import_file(host: Host, source: Source, ref: ImageRef, data_pool: str = "") -> None:
    """Copy a file that was found whole into an image that exists and is all zeroes.

    Raises ClusterError, UnavailableError, and VirtrbdError where the file changed meanwhile.
    """
    with ceph_access(host) as ceph, readable_node(source) as node:
        work = Work(
            words=[*_INTO_NEW, "--", node.name, ceph.name(ref)],
            what=f"importing {source.path} into {ref}",
            rights=_reading(source.size_bytes),
            descriptors=[node.descriptor, *ceph.descriptors],
            nodes=[node],
        )
        _run(host, work, source.size_bytes, ref.pool, data_pool, source=source)


def copy_image(host: Host, source: ImageRef, size_bytes: int, ref: ImageRef, data_pool: str = "") -> None:
    """Copy an image into one that exists and is all zeroes. Raises ClusterError, UnavailableError."""
    if size_bytes % SECTOR_BYTES:
        try:
            copy_bytes(host.cluster, source, ref, host.progress)
        except UnavailableError:
            # A full pool does not answer either.
            refuse_full(host.cluster, ref.pool, data_pool)
            raise
        return
    with ceph_access(host) as ceph:
        work = Work(
            words=[*_INTO_NEW, *_AS_IT_IS, "--", ceph.name(source), ceph.name(ref)],
            what=f"copying {source} to {ref}",
            rights=_reading(size_bytes),
            descriptors=ceph.descriptors,
        )
        _run(host, work, size_bytes, ref.pool, data_pool)


def verify(host: Host, source: Source, ref: ImageRef) -> None:
    """Read the file and the image again, byte by byte. Raises ClusterError when they differ."""
    with readable_node(source) as node:
        _compare(host, node, ref, source.size_bytes, _reading(source.size_bytes), source=source)


def export_image(host: Host, ref: ImageRef, size_bytes: int, path: str, file_format: str, *, check: bool) -> None:
    """Copy an image into a new file, which gets its name only when it is whole, on disk, and, with `check`, equal.

    Raises ClusterError, UnavailableError, DeniedError, VirtrbdError.
    """
    exists = VirtrbdError(f"{path}: exists; name another file, or remove it")
    if size_bytes % SECTOR_BYTES and file_format != "raw":
        raise ClusterError(
            f"image {ref} has {size_bytes} bytes, not a multiple of {SECTOR_BYTES}; {file_format} holds "
            f"only whole sectors: export it as raw"
        )
    try:
        if os.path.lexists(path):
            raise exists
        # By its descriptor: a user who may write to the folder above could redirect its name meanwhile.
        folder = os.open(Path(path).parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            whole = _Export(ref=ref, size_bytes=size_bytes, path=path, format=file_format)
            _export_into(host, folder, whole, check=check)
            os.fsync(folder)
        finally:
            os.close(folder)
    except FileExistsError:
        raise exists from None
    except PermissionError:
        raise DeniedError(f"{path}: permission denied; name a folder that can be written to") from None
    except OSError as error:
        raise VirtrbdError(f"{path}: {error.strerror}; name a folder that can be written to") from error


class _Export(Struct, frozen=True, kw_only=True):
    """An image or snapshot, and the file that it becomes."""

    ref: ImageRef
    size_bytes: int
    path: str
    format: str


def _export_into(host: Host, folder: int, export: _Export, *, check: bool) -> None:
    ref, size_bytes, path = export.ref, export.size_bytes, export.path
    begin(f"exporting {ref}")
    name = Path(path).name
    half = f".{name}.{uuid.uuid4().hex[:8]}.part"
    # Made here, so that only this user may ever read it: it may be a private disk.
    descriptor = os.open(half, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        _fill(host, descriptor, export)
        # qemu-img leaves that to the kernel.
        os.fsync(descriptor)
        _require_size(descriptor, export)
        if check and size_bytes % SECTOR_BYTES:
            _compare_bytes(host, descriptor, ref, path)
        elif check:
            _compare(host, own_node(path, descriptor, export.format), ref, size_bytes, _writing(size_bytes))
        with finishing():
            # Not rename: it would replace a file that was made there meanwhile. Python follows the link of the
            # descriptor only where it is given folders.
            os.link(f"/proc/self/fd/{descriptor}", name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=True)
            host.did(f"{ref}: exported to {path}")
    finally:
        os.close(descriptor)
        with suppress(OSError):
            os.unlink(half, dir_fd=folder)


def _require_size(descriptor: int, export: _Export) -> None:
    """Raise ClusterError when the file holds a disk of another size than the image.

    For an image of 2^63 bytes qemu-img makes an empty file, and succeeds (measured with QEMU 7.2).
    """
    if export.format == "raw":
        written = os.fstat(descriptor).st_size
    else:
        [written] = struct.unpack(">Q", os.pread(descriptor, 8, _QCOW2_SIZE_AT))
    if written != export.size_bytes:
        raise ClusterError(
            f"image {export.ref} has {export.size_bytes} bytes and qemu-img wrote a disk of {written} to "
            f"{export.path}, which is removed; look at its size with `{shell_command('rbd info', export.ref.image)}`"
        )


def _fill(host: Host, descriptor: int, export: _Export) -> None:
    """Write the image into virtrbd's file."""
    ref, size_bytes, path = export.ref, export.size_bytes, export.path
    if size_bytes % SECTOR_BYTES:
        os.truncate(descriptor, size_bytes)
        read_bytes(host.cluster, ref, partial(_write_at, descriptor), host.progress)
        return
    with ceph_access(host) as ceph:
        words = ["convert", "-p", "-W", "-m", "16", *_AS_IT_IS, "-O", export.format, "--", ceph.name(ref)]
        work = Work(
            words=[*words, f"file:/proc/self/fd/{descriptor}"],
            what=f"exporting {ref} to {path}",
            rights=_writing(size_bytes),
            descriptors=[descriptor, *ceph.descriptors],
            nodes=[own_node(path, descriptor, export.format)],
        )
        _run(host, work, size_bytes)


def _write_at(descriptor: int, data: bytes, offset: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(descriptor, data[done:], offset + done)


def _compare_bytes(host: Host, descriptor: int, ref: ImageRef, path: str) -> None:
    """Read file and image again. Raises ClusterError where they differ."""

    def compare(data: bytes, offset: int) -> None:
        if os.pread(descriptor, len(data), offset) != data:
            raise ClusterError(f"verifying {ref}: {path} differs from it at byte {offset}; export it again")

    read_bytes(host.cluster, ref, compare, host.progress)


def _compare(
    host: Host, node: Node, ref: ImageRef, size_bytes: int, rights: Rights, *, source: Source | None = None
) -> None:
    with ceph_access(host) as ceph:
        # The file's format is in its name.
        work = Work(
            words=["compare", "-p", "-F", "raw", "--", node.name, ceph.name(ref)],
            what=f"verifying {ref}",
            rights=rights,
            descriptors=[node.descriptor, *ceph.descriptors],
            nodes=[node],
        )
        _run(host, work, size_bytes, source=source)


def _run(host: Host, work: Work, size_bytes: int, *pools: str, source: Source | None = None) -> None:
    """Run it; show progress, check now and then that no pool is full, and that the source is unchanged."""
    full_asked_at = time.monotonic()

    def watch(percent: float) -> None:
        nonlocal full_asked_at
        host.progress(int(size_bytes * percent / 100), size_bytes)
        if source:
            source.file.require_still()
        if pools and time.monotonic() > full_asked_at + _FULL_EVERY_S:
            refuse_full(host.cluster, *pools)
            full_asked_at = time.monotonic()

    run_qemu_img(work, host.settings.timeouts.transfer, watch)
    if source:
        source.file.require_still()


def _reading(size_bytes: int) -> Rights:
    """Return the rights to read a file or an image, and write to Ceph."""
    return Rights(network=True, memory_bytes=_MEMORY_BYTES, cpu_s=_LEAST_CPU_S + size_bytes // _BYTES_A_CPU_S)


def _writing(size_bytes: int) -> Rights:
    """Return the rights to write an image as raw into a file that virtrbd made: no untrusted file is read."""
    return replace(_reading(size_bytes), as_own_user=True, file_bytes=None)
