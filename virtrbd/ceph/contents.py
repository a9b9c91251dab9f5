"""The contents of an open image besides data: metadata, snapshots, parent, group; with any bytes in names."""

from contextlib import suppress
from typing import Any

from virtrbd.ceph import class_calls
from virtrbd.ceph.bindings import rados, rbd
from virtrbd.ceph.cluster import Cluster
from virtrbd.ceph.header import ParentKey
from virtrbd.ceph.header_io import read_header
from virtrbd.ceph.texts import bindings_or_bytes
from virtrbd.errors import ClusterError, ConfigError
from virtrbd.model.image import ImageRef


def metadata_of(ioctx: Any, image: Any) -> dict[str, str]:
    """Return all metadata of the open image."""
    return bindings_or_bytes(
        lambda: dict(image.metadata_list()), lambda: class_calls.list_metadata(ioctx, str(image.id()))
    )


def snapshots_of(ioctx: Any, image: Any) -> list[dict[str, Any]]:
    """Return the snapshots of the open image, as the bindings' `list_snaps` gives them."""
    return bindings_or_bytes(
        lambda: list(image.list_snaps()), lambda: class_calls.list_snapshots(ioctx, str(image.id()))
    )


def user_snapshots_of(ioctx: Any, image: Any) -> list[dict[str, Any]]:
    """Return the user's snapshots."""
    found = snapshots_of(ioctx, image)
    return [each for each in found if each["namespace"] == rbd.RBD_SNAP_NAMESPACE_TYPE_USER]


def object_bytes_of(ioctx: Any, image: Any) -> int:
    """Return the size of the open image's objects. Raises ClusterError where its header is unreadable."""

    def by_bytes() -> int:
        # `stat` of the bindings decodes the prefix of the data objects too.
        header = read_header(ioctx, str(image.id()))
        if header is None:
            raise ClusterError(f"image with id {image.id()}: its header cannot be read")
        return 1 << header.order

    return bindings_or_bytes(lambda: 1 << int(image.stat()["order"]), by_bytes)


def parent_of(cluster: Cluster, ioctx: Any, image: Any) -> ImageRef | None:
    """Return the parent snapshot of the open image, None without a parent."""

    def by_bindings() -> ImageRef:
        spec = image.get_parent_image_spec()
        where = {"pool": spec["pool_name"], "namespace": spec["pool_namespace"]}
        return ImageRef(**where, name=spec["image_name"], snapshot=spec["snap_name"])

    def by_bytes() -> ImageRef | None:
        key = class_calls.parent_of(ioctx, str(image.id()))
        return resolved(cluster, key) if key else None

    try:
        return bindings_or_bytes(by_bindings, by_bytes)
    except rbd.ImageNotFound:
        return None


def resolved(cluster: Cluster, key: ParentKey) -> ImageRef:
    """Return the snapshot with its names; a part without a readable name is named by its number."""
    by_number = ImageRef(
        pool=cluster.name_of_pool(key.pool_id),
        namespace=key.namespace,
        name=f"(id {key.image_id})",
        snapshot=f"(id {key.snapshot_id})",
    )
    return named(cluster, key, by_number) or by_number


def named(cluster: Cluster, key: ParentKey, where: ImageRef) -> ImageRef | None:
    """Return the snapshot with its names, None where it, its pool or its image is gone."""
    try:
        with cluster.ioctx(where) as ioctx:
            name, header = class_calls.name_of(ioctx, key.image_id), read_header(ioctx, key.image_id)
    except (ConfigError, ClusterError, rados.PermissionError, rados.PermissionDeniedError):
        return None
    snapshot = header.snapshots.get(key.snapshot_id) if header else None
    if not name or not snapshot:
        return None
    return ImageRef(pool=where.pool, namespace=where.namespace, name=name, snapshot=snapshot)


def group_of(ioctx: Any, image: Any) -> dict[str, Any]:
    """Return pool (a number) and name of the image's group, empty for none; a name that is not UTF-8 is not shown."""
    with suppress(rbd.Error):
        return bindings_or_bytes(lambda: dict(image.group()), lambda: {"pool": ioctx.get_pool_id(), "name": "(odd)"})
    return {}
