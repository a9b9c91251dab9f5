"""Images: read and marked."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from virtrbd.ceph.bindings import rbd
from virtrbd.ceph.cluster import Cluster
from virtrbd.ceph.contents import user_snapshots_of
from virtrbd.ceph.describe import describe_image
from virtrbd.ceph.header_io import read_header, read_id, write_metadata
from virtrbd.ceph.metadata import (
    LAST_RUN,
    OWNER,
    RUNNING,
    STATE,
    config_of,
    is_copy,
    last_run_value,
    owner_value,
    remove_metadata,
    running_value,
    state_value,
    strip_inherited,
)
from virtrbd.ceph.opening import is_listed, is_there, open_image
from virtrbd.errors import ClusterError
from virtrbd.model.image import Image, ImageMark, ImageRef, LastRun
from virtrbd.model.image_state import ImageState


def read_image(cluster: Cluster, ref: ImageRef, *, usage: bool = False) -> Image | None:
    """Return the image (at its snapshot, when the reference has one), or None when there is none.

    Raises ClusterError for an image that exists and cannot be read.
    """

    def read() -> Image | None:
        try:
            with (
                cluster.ioctx(ref) as ioctx,
                open_image(ioctx, ref, at_snapshot=True, read_only=True) as image,
            ):
                return describe_image(cluster, ioctx, ref, image, usage)
        except rbd.ImageNotFound:
            return None

    return cluster.call(f"reading image {ref}", read)


def is_taken(cluster: Cluster, ref: ImageRef) -> bool:
    """Whether there is an image of that name, without opening it."""

    def look() -> bool:
        with cluster.ioctx(ref) as ioctx:
            return is_there(ioctx, ref) or is_listed(ioctx, ref)

    return cluster.call(f"looking for image {ref}", look)


def pool_config(cluster: Cluster, pool: str) -> dict[str, str]:
    """Return the librbd options that are set on the pool: they override ceph.conf and QEMU's."""

    def read() -> dict[str, str]:
        # librbd reads them from the default namespace, also for an image in another namespace.
        with cluster.ioctx(ImageRef(pool=pool, name="")) as ioctx:
            try:
                return config_of(dict(rbd.RBD().pool_metadata_list(ioctx)))
            except (rbd.PermissionError, UnicodeDecodeError):
                # A user of a single namespace can't look, and only a lint depends on it.
                return {}

    return cluster.call(f"reading the configuration of pool {pool}", read)


def free_of_inherited(cluster: Cluster, ref: ImageRef, *, only_copies: bool = False) -> tuple[str, ...]:
    """Remove from an image the settings that it inherited; return them as `key=value`.

    With `only_copies` only where it carries a mark of another image: else its settings are its own.
    """

    def free(ioctx: Any, image: Any) -> tuple[str, ...]:
        return strip_inherited(ioctx, image) if not only_copies or is_copy(ioctx, image) else ()

    return cluster.with_image(f"cleaning image {ref}", ref, free)


def mark_image(cluster: Cluster, ref: ImageRef, mark: ImageMark, *, ready: bool = False) -> None:
    """Mark the image as a domain's, and with `ready` clear its state in the same write.

    Raises ClusterError when it is gone.
    """

    def write() -> None:
        with cluster.ioctx(ref) as ioctx:
            values, removed = {OWNER: owner_value(mark)}, (STATE,) if ready else ()
            write_metadata(ioctx, ref, mark.image_id, values, removed)

    cluster.call(f"marking image {ref}", write, changes=True)


def set_state(cluster: Cluster, ref: ImageRef, state: ImageState | None) -> None:
    """Record that the image is not ready, and why; None means ready."""

    def write(ioctx: Any, image: Any) -> None:
        if state:
            image.metadata_set(STATE, state_value(str(state), image.id()))
        else:
            remove_metadata(ioctx, image, STATE)

    cluster.with_image(f"noting the state of image {ref}", ref, write)


def set_running(cluster: Cluster, refs: Sequence[ImageRef], run: LastRun) -> None:
    """Record on the images that a guest runs on them, and where: the claim of its host, and the lasting trace."""

    def write(ref: ImageRef) -> None:
        with cluster.ioctx(ref) as ioctx:
            image_id = read_id(ioctx, ref)
            values = {RUNNING: running_value(run.host, image_id), LAST_RUN: last_run_value(run, image_id)}
            write_metadata(ioctx, ref, image_id, values)

    for ref in refs:
        cluster.call(f"noting the host of image {ref}", partial(write, ref), changes=True)


def clear_claims(cluster: Cluster, refs: Sequence[ImageRef], host_uuid: str) -> None:
    """Record on the images that a guest of the host released them, except images that another host claims.

    The trace of its run stays.
    """

    def write(ref: ImageRef) -> None:
        with cluster.ioctx(ref) as ioctx:
            write_metadata(ioctx, ref, read_id(ioctx, ref), {}, (RUNNING,))

    for ref in (ref for ref in refs if (image := read_image(cluster, ref)) and image.running_on == host_uuid):
        cluster.call(f"noting the stop on image {ref}", partial(write, ref), changes=True)


def is_clone_of(cluster: Cluster, ref: ImageRef, parent: ImageRef) -> bool:
    """Whether that snapshot is the image's parent, not an earlier snapshot of the same name."""

    def look() -> bool:
        with cluster.ioctx(parent) as source, open_image(source, parent, read_only=True) as image:
            ids = [snap["id"] for snap in user_snapshots_of(source, image) if snap["name"] == parent.snapshot]
            wanted = [(source.get_pool_id(), parent.namespace, image.id(), each) for each in ids]
        with cluster.ioctx(ref) as ioctx:
            header = read_header(ioctx, read_id(ioctx, ref))
        key = header.parent if header else None
        return key is not None and (key.pool_id, key.namespace, key.image_id, key.snapshot_id) in wanted

    return cluster.call(f"reading the parent of {ref}", look)


def require_id(ref: ImageRef, image: Any, image_id: str) -> None:
    """Raise ClusterError when the open image is not the one with that id."""
    if image.id() != image_id:
        raise ClusterError(f"image {ref} was replaced meanwhile; run again")
