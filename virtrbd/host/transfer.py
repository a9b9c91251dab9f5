"""Bulk transfers between files and images."""

import os
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from virtrbd.ceph.pools import refuse_full
from virtrbd.errors import DeniedError, VirtrbdError
from virtrbd.host.image_host import ImageHost
from virtrbd.host.qemu_img import as_file, as_image, run_qemu_img
from virtrbd.host.source_file import read_as
from virtrbd.model.image import ImageRef

# -n and --target-is-zero: the target was just made by librbd, and no zeroes are written to it; -W with -m 16: out of
# order, 16 requests at a time; without -W, -m changes nothing.
_INTO_NEW = ("convert", "-p", "-n", "--target-is-zero", "-W", "-m", "16", "-O", "raw")
# What a guest wrote to its disk may look like another format, and name files of this host: an image is read as it is.
_AS_IT_IS = ("-f", "raw")
# How often a transfer asks whether its pool ran full: the writer itself would wait for ever.
_FULL_EVERY_S = 2.0


def import_file(
    host: ImageHost, path: str, size_bytes: int, ref: ImageRef, data_pool: str = "", file_format: str = ""
) -> None:
    """Copy a file that was found whole into an image that exists and is all zeroes; for an empty format, as what
    qemu-img takes it for. Raises ClusterError, UnavailableError."""
    what = f"importing {path} into {ref}"
    words = [*_INTO_NEW, *read_as(path, file_format), "--", as_file(path), as_image(ref, host.settings.ceph)]
    run_qemu_img(words, what, host.settings.timeouts.transfer, _watch(host, size_bytes, ref.pool, data_pool))


def copy_image(host: ImageHost, source: ImageRef, size_bytes: int, ref: ImageRef, data_pool: str = "") -> None:
    """Copy an image into one that exists and is all zeroes. Raises ClusterError, UnavailableError."""
    ceph = host.settings.ceph
    words = [*_INTO_NEW, *_AS_IT_IS, "--", as_image(source, ceph), as_image(ref, ceph)]
    what = f"copying {source} to {ref}"
    run_qemu_img(words, what, host.settings.timeouts.transfer, _watch(host, size_bytes, ref.pool, data_pool))


def export_image(host: ImageHost, ref: ImageRef, size_bytes: int, path: str, file_format: str, *, check: bool) -> None:
    """Copy an image into a new file, which has its name only when it is whole, on disk, and, with `check`, the same.

    Raises ClusterError, UnavailableError, DeniedError, VirtrbdError.
    """
    target = Path(path)
    exists = VirtrbdError(f"{path}: exists; name another file, or remove it")
    if os.path.lexists(target):
        raise exists
    half = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    image = as_image(ref, host.settings.ceph)
    words = ["convert", "-p", "-W", "-m", "16", *_AS_IT_IS, "-O", file_format, "--", image]
    try:
        # Made here, so that only we may read it from its first moment on: it may be somebody's disk.
        os.close(os.open(half, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        what = f"exporting {ref} to {path}"
        run_qemu_img([*words, as_file(str(half))], what, host.settings.timeouts.transfer, _watch(host, size_bytes))
        _sync(half)
        if check:
            verify(host, str(half), ref, size_bytes, file_format)
        # Not rename: it would replace what somebody made there meanwhile.
        os.link(half, target)
    except FileExistsError:
        raise exists from None
    except PermissionError:
        raise DeniedError(f"{path}: permission denied; name a folder that can be written to") from None
    except OSError as error:
        raise VirtrbdError(f"{path}: {error.strerror}; name a folder that can be written to") from error
    finally:
        with suppress(FileNotFoundError):
            half.unlink()
    _sync(target.absolute().parent)


def verify(host: ImageHost, file: str, ref: ImageRef, size_bytes: int, file_format: str = "") -> None:
    """Read the file and the image again, byte by byte. Raises ClusterError when they differ.

    An empty format: what qemu-img takes the file for, as in the import.
    """
    words = [
        "compare",
        "-p",
        *read_as(file, file_format),
        "-F",
        "raw",
        "--",
        as_file(file),
        as_image(ref, host.settings.ceph),
    ]
    run_qemu_img(words, f"verifying {ref}", host.settings.timeouts.transfer, _watch(host, size_bytes))


def _watch(host: ImageHost, size_bytes: int, *pools: str) -> Callable[[float], None]:
    """Return what shows progress, and looks now and then whether a pool ran full."""
    asked_at = time.monotonic()

    def watch(percent: float) -> None:
        nonlocal asked_at
        host.progress(int(size_bytes * percent / 100), size_bytes)
        if pools and time.monotonic() > asked_at + _FULL_EVERY_S:
            refuse_full(host.cluster, *pools)
            asked_at = time.monotonic()

    return watch


def _sync(path: Path) -> None:
    """Write a file or folder to disk: qemu-img leaves that to the kernel."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
