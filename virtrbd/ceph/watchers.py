"""The watchers of an image: a client that has it open read-write watches it. The only test of an image in use."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from msgspec import Struct

from virtrbd.ceph.bindings import rbd
from virtrbd.ceph.cluster import Cluster
from virtrbd.ceph.describe import watchers_of
from virtrbd.ceph.obstacles import obstacles_of
from virtrbd.ceph.opening import open_image
from virtrbd.ceph.unread import image_or_failure
from virtrbd.errors import ClusterError, ImageBusyError
from virtrbd.lazily import lazily
from virtrbd.model.failure import Failure
from virtrbd.model.image import ImageRef, Obstacle, Watcher
from virtrbd.model.record import replace
from virtrbd.printable import shell_command

# It takes as long to import as an image to open, and most guests have one image.
with lazily():
    from concurrent.futures import ThreadPoolExecutor

_AT_A_TIME = 8
# For so long a client may have an image open beside its guest without being named.
_MOMENT_S = 1.0


def foreign_watchers(cluster: Cluster, image: Any) -> tuple[Watcher, ...]:
    """Return who else has the open image open; for use within one call to the cluster."""
    own = cluster.client_id
    return tuple(watcher for watcher in watchers_of(image) if watcher.client_id != own)


def refuse_watched(cluster: Cluster, ref: ImageRef, image: Any) -> None:
    """Raise ImageBusyError when another client has the image open."""
    watchers = foreign_watchers(cluster, image)
    if watchers:
        raise busy_error(ref, watchers)


def busy_error(ref: ImageRef, watchers: Sequence[Watcher]) -> ImageBusyError:
    """Return the error that names who has the image open."""
    who = ", ".join(map(str, watchers)) or "another client"
    return ImageBusyError(f"image {ref} is open by {who}; stop that client first", tuple(map(str, watchers)))


class Registration(Struct, frozen=True, kw_only=True):
    """Images that are open read-write, so that other clients see us."""

    cluster: Cluster
    images: Mapping[ImageRef, Any]

    def others(self) -> dict[ImageRef, tuple[Watcher, ...]]:
        """Return the other clients that have each image open read-write."""
        return {
            ref: self.cluster.call(f"listing watchers of {ref}", partial(foreign_watchers, self.cluster, image))
            for ref, image in self.images.items()
        }

    def obstacles(self) -> dict[ImageRef, tuple[Obstacle, ...]]:
        """Return what RBD itself holds against writing to each image."""
        return {
            ref: self.cluster.call(f"reading the locks of {ref}", partial(obstacles_of, ref, image))
            for ref, image in self.images.items()
        }


@contextmanager
def registered(cluster: Cluster, refs: Sequence[ImageRef]) -> Iterator[Registration]:
    """Open images read-write, so that other clients see virtrbd, and yield a function that lists their watchers.

    Register, then look: two hosts that only look would both see no watcher and both start.
    """
    with ExitStack() as stack:
        ioctxs = [stack.enter_context(cluster.ioctx(ref)) for ref in refs]

        def opened(ref: ImageRef, ioctx: Any) -> Any:
            image = cluster.call(f"opening image {ref}", partial(_open, ioctx, ref))
            stack.callback(cluster.let_go, f"closing image {ref}", image.close)
            return image

        if len(refs) > 1:
            with ThreadPoolExecutor(_AT_A_TIME) as threads:
                images = dict(zip(refs, threads.map(opened, refs, ioctxs), strict=True))
        else:
            images = dict(zip(refs, map(opened, refs, ioctxs), strict=True))
        yield Registration(cluster=cluster, images=images)


def _open(ioctx: Any, ref: ImageRef) -> Any:
    try:
        return open_image(ioctx, ref)
    except rbd.ImageNotFound:
        look = shell_command("virtrbd image trash list", ref.pool_spec)
        raise ClusterError(f"image {ref} does not exist; see whether it is in the trash with {look}") from None


def opened_twice(
    cluster: Cluster, refs: Sequence[ImageRef], wait_s: float = _MOMENT_S
) -> dict[ImageRef, tuple[Watcher, ...]]:
    """Return the images that more than one other client has open read-write, with these clients.

    Looked at again for so many seconds: the client of a snapshot or a start is there for a
    moment, and a killed client is listed for longer. Images that cannot be read are left out. Raises
    UnavailableError.
    """
    found = _several(cluster, refs)
    give_up_at = time.monotonic() + wait_s
    while found and time.monotonic() < give_up_at:
        time.sleep(_MOMENT_S / 4)
        again = _several(cluster, list(found))
        lasting = {ref: tuple(each for each in found[ref] if each in again[ref]) for ref in again}
        found = {ref: watchers for ref, watchers in lasting.items() if len(watchers) > 1}
    return {ref: placed(watchers, cluster.address) for ref, watchers in found.items()}


def _several(cluster: Cluster, refs: Sequence[ImageRef]) -> dict[ImageRef, tuple[Watcher, ...]]:
    if not refs:
        return {}
    with ThreadPoolExecutor(_AT_A_TIME) as threads:
        looked = dict(zip(refs, threads.map(partial(_watchers, cluster), refs), strict=True))
    return {ref: found for ref, found in looked.items() if not isinstance(found, Failure) and len(found) > 1}


def _watchers(cluster: Cluster, ref: ImageRef) -> tuple[Watcher, ...] | Failure:
    def read() -> tuple[Watcher, ...]:
        with cluster.ioctx(ref) as ioctx, open_image(ioctx, ref, read_only=True) as image:
            return foreign_watchers(cluster, image)

    return image_or_failure(cluster, ref, lambda: cluster.call(f"listing watchers of {ref}", read))


def placed(watchers: tuple[Watcher, ...], address: str) -> tuple[Watcher, ...]:
    """Return the watchers; this host's is marked where its address distinguishes it."""
    here = [each for each in watchers if machine_of(each.address) == machine_of(address)]
    return tuple(replace(each, is_here=here == [each]) for each in watchers)


def machine_of(address: str) -> str:
    """Return the machine in Ceph's form of an address, `[v2:]ADDRESS:PORT/NONCE`."""
    return address.partition("/")[0].rpartition(":")[0].removeprefix("v2:").removeprefix("v1:")
