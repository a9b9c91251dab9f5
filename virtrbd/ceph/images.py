"""Images: read, made, marked, grown."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from virtrbd.ceph.bindings import rbd
from virtrbd.ceph.cluster import Cluster, refuse_missing_namespace
from virtrbd.ceph.contents import object_bytes_of, user_snapshots_of
from virtrbd.ceph.describe import describe_image
from virtrbd.ceph.features import feature_bits
from virtrbd.ceph.header_io import read_header, read_id, write_metadata
from virtrbd.ceph.metadata import (
    LAST_RUN,
    OWNER,
    RUNNING,
    STATE,
    config_of,
    inherited,
    is_copy,
    last_run_value,
    options_in,
    owner_value,
    remove_metadata,
    running_value,
    state_value,
    strip_inherited,
)
from virtrbd.ceph.opening import is_listed, is_there, open_image
from virtrbd.ceph.pools import refuse_closed, refuse_full
from virtrbd.ceph.texts import as_bytes, is_utf8
from virtrbd.ceph.watchers import refuse_watched
from virtrbd.errors import ClusterError, ImageExistsError
from virtrbd.model.image import Image, ImageLayout, ImageMark, ImageRef, LastRun
from virtrbd.model.image_state import ImageState
from virtrbd.model.size import format_size
from virtrbd.printable import shell_command

# librbd's own (ObjectMap::is_compatible, MAX_OBJECT_MAP_OBJECT_COUNT), and its size of objects.
_MOST_OBJECTS = 256_000_000
_DEFAULT_OBJECT_BYTES = 4 * 1024**2
_DEFAULT_DATA_POOL = "rbd_default_data_pool"
# What a clone must not get from its parent's feature bits: they belong to mirrored or migrating images.
_NOT_FOR_CLONES = (
    rbd.RBD_FEATURE_JOURNALING | rbd.RBD_FEATURE_MIGRATING | rbd.RBD_FEATURE_OPERATIONS | rbd.RBD_FEATURE_DATA_POOL
)


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


def create_image(cluster: Cluster, ref: ImageRef, size_bytes: int, layout: ImageLayout, state: str = "") -> str:
    """Create an empty image and return its id; with `state` it is not ready until that is cleared.

    Raises ImageExistsError, DeniedError.
    """

    def create() -> str:
        if data_pool := layout.data_pool or cluster.option(_DEFAULT_DATA_POOL):
            refuse_closed(cluster, ref, data_pool)
        with cluster.ioctx(ref) as ioctx:
            _create(ioctx, ref, size_bytes, layout)
            image_id = read_id(ioctx, ref)
            if state:
                write_metadata(ioctx, ref, image_id, {STATE: state_value(state, image_id)})
            return image_id

    return cluster.call(f"creating image {ref}", create, changes=True)


def _create(ioctx: Any, ref: ImageRef, size_bytes: int, layout: ImageLayout) -> None:
    try:
        rbd.RBD().create(
            ioctx,
            as_bytes(ref.name),
            size_bytes,
            layout.object_bytes.bit_length() - 1 if layout.object_bytes else None,
            old_format=False,
            features=feature_bits(layout.features) if layout.features else None,
            stripe_unit=layout.stripe_unit_bytes,
            stripe_count=layout.stripe_count,
            data_pool=layout.data_pool or None,
        )
    except rbd.ImageNotFound as error:
        raise _not_found(ioctx, ref, error) from error
    except rbd.ImageExists as error:
        raise _exists(ref) from error
    except rbd.InvalidArgument as error:
        raise _too_large(ref, size_bytes, layout.object_bytes or _DEFAULT_OBJECT_BYTES) or error from error


def _too_large(ref: ImageRef, size_bytes: int, object_bytes: int) -> ClusterError | None:
    """Return the error for a size that librbd calls an invalid argument, None where the size is not the cause."""
    if size_bytes <= _MOST_OBJECTS * object_bytes:
        return None
    return ClusterError(
        f"image {ref}: {format_size(size_bytes)} is more than an object map can hold: {_MOST_OBJECTS:,} objects of "
        f"{format_size(object_bytes)}; for a larger image use --object-size, or --features without object-map and "
        f"fast-diff"
    )


def _exists(ref: ImageRef) -> ImageExistsError:
    return ImageExistsError(
        f"image {ref} exists: another client made it just now; name another one, or see whose it is"
    )


def _not_found(ioctx: Any, ref: ImageRef, error: Exception) -> ClusterError:
    """For a missing namespace librbd says that the image does not exist."""
    refuse_missing_namespace(ioctx, ref)
    return ClusterError(f"image {ref}: {error}")


def clone_image(cluster: Cluster, parent: ImageRef, ref: ImageRef) -> tuple[str, tuple[str, ...]]:
    """Clone a snapshot; return the clone's id and the parent's settings that were removed from it.

    A clone inherits all image metadata of its source: marks, and conf_rbd_* that would override the spec.
    Raises ImageExistsError, DeniedError.
    """

    def clone() -> tuple[str, tuple[str, ...]]:
        if data_pool := cluster.option(_DEFAULT_DATA_POOL):
            refuse_closed(cluster, ref, data_pool)
        with cluster.ioctx(parent) as source, cluster.ioctx(ref) as ioctx:
            features = _features(source, parent) & ~_NOT_FOR_CLONES
            snapshot = _as_clone_takes_it(parent)
            try:
                rbd.RBD().clone(source, as_bytes(parent.name), snapshot, ioctx, as_bytes(ref.name), features)
            except TypeError as error:
                if isinstance(snapshot, str):
                    raise
                raise ClusterError(
                    f"cloning {parent}: this Ceph's Python binding cannot clone a snapshot whose name is not UTF-8; "
                    f"give it another name with `{shell_command('rbd snap rename', parent)} NEW`"
                ) from error
            except rbd.InvalidArgument as error:
                # Clones v1, which a cluster makes until its min-compat-client is mimic, need protection.
                raise ClusterError(
                    f"cloning {parent}: {error}; where it is not protected, protect it with "
                    f"`{shell_command('virtrbd image snapshot protect', parent)}`"
                ) from error
            except rbd.ImageNotFound as error:
                raise _not_found(ioctx, ref, error) from error
            except rbd.ImageExists as error:
                raise _exists(ref) from error
            image_id = read_id(ioctx, ref)
            return image_id, _free_of_inherited(ioctx, ref, image_id)

    return cluster.call(f"cloning {parent} to {ref}", clone, changes=True)


def _as_clone_takes_it(parent: ImageRef) -> str | bytes:
    """Return the snapshot's name: as text where possible, because Ceph 20's clone refuses bytes (measured)."""
    raw = as_bytes(parent.snapshot)
    return parent.snapshot if is_utf8(parent.snapshot) else raw


def _features(ioctx: Any, ref: ImageRef) -> int:
    header = read_header(ioctx, read_id(ioctx, ref))
    if header:
        return header.features
    with open_image(ioctx, ref, read_only=True) as image:
        return int(image.features())


def _free_of_inherited(ioctx: Any, ref: ImageRef, image_id: str) -> tuple[str, ...]:
    header = read_header(ioctx, image_id)
    if header is None:
        with open_image(ioctx, ref) as image:
            return strip_inherited(ioctx, image)
    if keys := inherited(header.metadata, image_id):
        write_metadata(ioctx, ref, image_id, {}, removed=keys)
    return options_in(header.metadata)


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


def clear_running(cluster: Cluster, refs: Sequence[ImageRef]) -> None:
    """Record on the images that their guest stopped cleanly; the trace of its run stays."""

    def write(ref: ImageRef) -> None:
        with cluster.ioctx(ref) as ioctx:
            write_metadata(ioctx, ref, read_id(ioctx, ref), {}, (RUNNING,))

    for ref in refs:
        cluster.call(f"noting the stop on image {ref}", partial(write, ref), changes=True)


def grow_image(cluster: Cluster, ref: ImageRef, to_bytes: int) -> None:
    """Grow an image that no client has open. Raises ImageBusyError; never shrinks."""

    def grow(ioctx: Any, image: Any) -> None:
        refuse_watched(cluster, ref, image)
        if image.size() < to_bytes:
            try:
                image.resize(to_bytes, allow_shrink=False)
            except rbd.InvalidArgument as error:
                raise _too_large(ref, to_bytes, object_bytes_of(ioctx, image)) or error from error

    refuse_full(cluster, ref.pool)
    cluster.with_image(f"growing image {ref}", ref, grow)


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
