"""Images: made, cloned, grown."""

from typing import Any

from msgspec import Struct

from virtrbd.ceph.bindings import rbd
from virtrbd.ceph.cluster import Cluster, refuse_missing_namespace
from virtrbd.ceph.contents import object_bytes_of
from virtrbd.ceph.features import feature_bits
from virtrbd.ceph.header_io import read_header, read_id, write_metadata
from virtrbd.ceph.metadata import STATE, inherited, options_in, state_value, strip_inherited
from virtrbd.ceph.opening import open_image
from virtrbd.ceph.pools import refuse_closed, refuse_full
from virtrbd.ceph.texts import as_bytes, is_utf8
from virtrbd.ceph.watchers import refuse_watched
from virtrbd.errors import ClusterError, ImageExistsError
from virtrbd.model.image import ImageLayout, ImageRef
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


class Cloned(Struct, frozen=True, kw_only=True):
    """A new clone's id, and the parent's settings that were removed from it."""

    image_id: str
    dropped: tuple[str, ...]


def clone_image(cluster: Cluster, parent: ImageRef, ref: ImageRef) -> Cloned:
    """Clone a snapshot.

    A clone inherits all image metadata of its source: marks, and conf_rbd_* that would override the spec.
    Raises ImageExistsError, DeniedError.
    """

    def clone() -> Cloned:
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
            return Cloned(image_id=image_id, dropped=_free_of_inherited(ioctx, ref, image_id))

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
