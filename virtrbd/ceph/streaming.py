"""Data that comes through a pipe, written into an image, and read again to compare."""

import errno
import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from virtrbd.ceph.cluster import Cluster
from virtrbd.ceph.opening import open_image
from virtrbd.errors import ClusterError, DeniedError, UnavailableError
from virtrbd.model.image import ImageRef

# One object of the usual size, so that a write goes to one place.
_CHUNK_BYTES = 4 * 1024**2
# Resizing costs some milliseconds: it is done once for so many chunks, which are all in memory meanwhile.
_CHUNKS_A_BATCH = 8
_IN_FLIGHT = 8
_SECTOR_BYTES = 512


def write_stream(
    cluster: Cluster, ref: ImageRef, read: Callable[[int], bytes], progress: Callable[[int], None]
) -> tuple[int, str]:
    """Write what `read` gives into the image, which grows with it; return the bytes and their SHA-256.

    `read` returns the requested number of bytes, fewer only at the end. Chunks of zeroes are not written, because the
    image holds them already. Raises ClusterError, DeniedError, UnavailableError.
    """
    digest, written = hashlib.sha256(), 0
    with _writable(cluster, ref) as image, _Flight(cluster, ref, image) as flight:
        while batch := _batch(read):
            end = written + sum(map(len, batch))
            # A partial last sector is filled up with zeroes: a disk has only whole sectors.
            sectors_end = -(-end // _SECTOR_BYTES) * _SECTOR_BYTES
            cluster.call(f"growing image {ref}", partial(image.resize, sectors_end, allow_shrink=False), changes=True)
            for chunk in batch:
                digest.update(chunk)
                if chunk.count(0) != len(chunk):
                    flight.write(chunk, written)
                written += len(chunk)
            progress(written)
    return written, digest.hexdigest()


def digest_of_image(cluster: Cluster, ref: ImageRef, size_bytes: int, progress: Callable[[int], None]) -> str:
    """Return the SHA-256 of the image's first bytes."""
    digest = hashlib.sha256()
    with _writable(cluster, ref) as image:
        for at in range(0, size_bytes, _CHUNK_BYTES):
            length = min(_CHUNK_BYTES, size_bytes - at)
            digest.update(cluster.call(f"reading image {ref}", partial(image.read, at, length)))
            progress(at + length)
    return digest.hexdigest()


def _batch(read: Callable[[int], bytes]) -> list[bytes]:
    chunks: list[bytes] = []
    while len(chunks) < _CHUNKS_A_BATCH and (chunk := read(_CHUNK_BYTES)):
        chunks.append(chunk)
    return chunks


@contextmanager
def _writable(cluster: Cluster, ref: ImageRef) -> Iterator[Any]:
    with cluster.ioctx(ref) as ioctx:
        image = cluster.call(f"opening image {ref}", partial(open_image, ioctx, ref))
        try:
            yield image
        finally:
            cluster.let_go(f"closing image {ref}", image.close)


class _Flight:
    """Writes under way, a few at a time; leaving waits for all of them."""

    def __init__(self, cluster: Cluster, ref: ImageRef, image: Any) -> None:
        self._cluster, self._ref, self._image = cluster, ref, image
        self._free = threading.Semaphore(_IN_FLIGHT)
        self._failed: list[int] = []

    def __enter__(self) -> "_Flight":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_details: object) -> None:
        # After an error the rest does not matter, and Ceph may not answer.
        if kind is None:
            for _ in range(_IN_FLIGHT):
                self._wait()
            self._check()
            self._cluster.call(f"flushing image {self._ref}", self._image.flush)

    def write(self, chunk: bytes, offset: int) -> None:
        """Begin to write; waits while too many are under way. Raises ClusterError, UnavailableError."""
        self._wait()
        self._check()
        what = f"writing to image {self._ref}"
        self._cluster.call(what, lambda: self._image.aio_write(chunk, offset, self._done), changes=True)

    def _done(self, completion: Any) -> None:
        if completion.get_return_value() < 0:
            self._failed.append(completion.get_return_value())
        self._free.release()

    def _wait(self) -> None:
        timeout_s = self._cluster.settings.timeouts.ceph
        if not self._free.acquire(timeout=timeout_s + 1):
            raise UnavailableError(f"Ceph: writing to image {self._ref}: no answer within {timeout_s:g} s")

    def _check(self) -> None:
        if self._failed and -self._failed[0] in (errno.ETIMEDOUT, errno.EBADMSG):
            raise UnavailableError(f"Ceph: writing to image {self._ref}: no answer in time; check `ceph status`")
        if self._failed and -self._failed[0] in (errno.EPERM, errno.EACCES):
            raise DeniedError(f"Ceph: writing to image {self._ref}: not allowed; check the caps of its pools")
        if self._failed:
            raise ClusterError(f"Ceph: writing to image {self._ref}: error {-self._failed[0]}; check `ceph status`")
