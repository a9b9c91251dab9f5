"""Who has an image open read-write: the only test of an image that is in use."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from virtrbd.ceph.cluster import Cluster
from virtrbd.ceph.facts import watchers_of
from virtrbd.ceph.obstacles import obstacles_of
from virtrbd.ceph.opening import open_image
from virtrbd.errors import ImageBusyError
from virtrbd.model.image import ImageRef, Obstacle, Watcher


def foreign_watchers(cluster: Cluster, image: Any) -> tuple[Watcher, ...]:
    """Return who else has the open image open; for use within one call to the cluster."""
    own = cluster.client_id
    return tuple(watcher for watcher in watchers_of(image) if watcher.client_id != own)


def refuse_watched(cluster: Cluster, ref: ImageRef, image: Any) -> None:
    """Raise ImageBusyError when somebody else has the image open."""
    watchers = foreign_watchers(cluster, image)
    if watchers:
        raise busy_error(ref, watchers)


def busy_error(ref: ImageRef, watchers: Sequence[Watcher]) -> ImageBusyError:
    """Return the error that names who has the image open."""
    who = ", ".join(map(str, watchers)) or "another client"
    return ImageBusyError(f"image {ref} is open by {who}; stop that client first", tuple(map(str, watchers)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
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
    """Open images read-write, so that other clients see us, and yield what looks at them.

    Register, then look: two hosts that only look both see nobody and both start.
    """
    with ExitStack() as stack:
        images = {}
        for ref in refs:
            ioctx = stack.enter_context(cluster.ioctx(ref))
            image = cluster.call(f"opening image {ref}", partial(open_image, ioctx, ref))
            stack.callback(cluster.let_go, f"closing image {ref}", image.close)
            images[ref] = image
        yield Registration(cluster=cluster, images=images)
