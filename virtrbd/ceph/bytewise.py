"""Copy images by librbd itself: QEMU ends with an assertion where a size is not a multiple of 512 (measured, 7.2)."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from virtrbd.ceph.bindings import rbd
from virtrbd.ceph.cluster import Cluster
from virtrbd.ceph.opening import open_image
from virtrbd.errors import ClusterError
from virtrbd.model.image import ImageRef

SECTOR_BYTES = 512
_CHUNK_BYTES = 4 * 1024**2

# Takes data and its place.
Write = Callable[[bytes, int], object]


def read_bytes(cluster: Cluster, ref: ImageRef, write: Write, progress: Callable[[int, int], None]) -> None:
    """Give all of an image, or of its snapshot, to `write` that is not surely zeroes. Raises ClusterError,
    UnavailableError."""
    what = f"reading {ref}"
    with cluster.ioctx(ref) as ioctx:
        image = cluster.call(what, partial(_open, ioctx, ref))
        try:
            size_bytes = image.size()
            for offset, length in cluster.call(what, partial(_extents, image, size_bytes)):
                data = cluster.call(what, partial(image.read, offset, length))
                if data.count(0) != len(data):
                    write(data, offset)
                progress(offset + length, size_bytes)
        finally:
            cluster.let_go(f"closing {ref}", image.close)


def copy_bytes(cluster: Cluster, source: ImageRef, ref: ImageRef, progress: Callable[[int, int], None]) -> None:
    """Write all of an image into one of the same size that is all zeroes. Raises ClusterError, UnavailableError."""
    what = f"copying {source} to {ref}"
    with cluster.ioctx(ref) as ioctx:
        image = cluster.call(what, partial(open_image, ioctx, ref))
        try:
            read_bytes(cluster, source, lambda data, at: cluster.call(what, partial(image.write, data, at)), progress)
            cluster.call(what, image.flush)
        finally:
            cluster.let_go(f"closing {ref}", image.close)


def _open(ioctx: Any, ref: ImageRef) -> Any:
    try:
        return open_image(ioctx, ref, at_snapshot=True, read_only=True)
    except rbd.ImageNotFound:
        raise ClusterError(f"image {ref} is gone; was it removed meanwhile?") from None


def _extents(image: Any, size_bytes: int) -> list[tuple[int, int]]:
    """Return offset and length of each part that may hold data, in order."""
    if not image.features() & rbd.RBD_FEATURE_FAST_DIFF or image.flags() & rbd.RBD_FLAG_FAST_DIFF_INVALID:
        # Every object would be asked for: reading it is as good.
        return list(_chunks(0, size_bytes))
    found: list[tuple[int, int]] = []

    def note(offset: int, length: int, exists: bool) -> None:
        if exists:
            found.extend(_chunks(offset, min(length, size_bytes - offset)))

    # librbd ends the process when it is asked of an image without a byte (measured with 16.2).
    if size_bytes:
        image.diff_iterate(0, size_bytes, None, note, include_parent=True, whole_object=True)
    return found


def _chunks(offset: int, length: int) -> Iterator[tuple[int, int]]:
    for at in range(offset, offset + length, _CHUNK_BYTES):
        yield at, min(_CHUNK_BYTES, offset + length - at)
