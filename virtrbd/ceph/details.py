"""Everything that the cluster knows of one image."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from msgspec import Struct

from virtrbd.ceph.bindings import rados, rbd
from virtrbd.ceph.clones import clones_of
from virtrbd.ceph.cluster import Cluster, Moved
from virtrbd.ceph.contents import group_of, metadata_of, parent_of, snapshots_of
from virtrbd.ceph.describe import describe_image
from virtrbd.ceph.features import flag_names, seconds_of
from virtrbd.ceph.metadata import config_of, copied_state_of
from virtrbd.ceph.opening import open_image
from virtrbd.ceph.texts import as_bytes, bindings_or_bytes
from virtrbd.ceph.trash import missing_image_error
from virtrbd.ceph.usage import usage_of
from virtrbd.errors import ClusterError, ConfigError, DeniedError
from virtrbd.model.image import ImageRef
from virtrbd.model.image_details import ImageDetails, Option, Snapshot, SnapshotKind
from virtrbd.planning.removal import way_out_of

_KINDS = {
    rbd.RBD_SNAP_NAMESPACE_TYPE_USER: SnapshotKind.USER,
    rbd.RBD_SNAP_NAMESPACE_TYPE_GROUP: SnapshotKind.GROUP,
    rbd.RBD_SNAP_NAMESPACE_TYPE_TRASH: SnapshotKind.TRASH,
    rbd.RBD_SNAP_NAMESPACE_TYPE_MIRROR: SnapshotKind.MIRROR,
}
_SOURCES = {
    rbd.RBD_CONFIG_SOURCE_CONFIG: "config",
    rbd.RBD_CONFIG_SOURCE_POOL: "pool",
    rbd.RBD_CONFIG_SOURCE_IMAGE: "image",
}
# A longer chain is a loop or a mistake; either way its length is reported.
_LONGEST_CHAIN = 32


def read_details(cluster: Cluster, ref: ImageRef, image_id: str = "") -> ImageDetails | None:
    """Return the details of an image, or None when there is none; by its id where one is given, as in the trash."""

    def read(moved: Moved) -> ImageDetails | None:
        try:
            with (
                cluster.ioctx(ref) as ioctx,
                open_image(ioctx, ref.image, image_id=image_id, read_only=True) as image,
            ):
                return _details(cluster, ioctx, ref.image, image, moved)
        except rbd.ImageNotFound:
            return None

    # An image of some TiB with many snapshots takes longer than one call may: fast-diff walks each of them.
    return cluster.call_in_steps(f"reading image {ref}", read)


def missing_snapshot(cluster: Cluster, ref: ImageRef, way_out: str = "") -> ClusterError:
    """Return the error for a missing user snapshot, which says whose snapshot has that name."""
    details = read_details(cluster, ref)
    if details is None:
        return missing_image_error(cluster, ref)
    for each in details.snapshots:
        if each.name == ref.snapshot and each.kind is not SnapshotKind.USER:
            of_rbd = f"{ref} is the {each.kind} snapshot {each.label}, which virtrbd leaves to RBD"
            return ClusterError(f"{of_rbd}; to end it: {way_out_of(each, ref.image)}")
    names = ", ".join(details.image.snapshots) or "none"
    return ClusterError(f"snapshot {ref} does not exist; {ref.image} has {names}" + (f"; {way_out}" if way_out else ""))


def read_parents(cluster: Cluster, ref: ImageRef) -> tuple[ImageRef, ...]:
    """Return the chain of an image's parents, its own first; empty also when the image is gone."""

    def read() -> tuple[ImageRef, ...]:
        try:
            with cluster.ioctx(ref) as ioctx, open_image(ioctx, ref, read_only=True) as image:
                return _parents(cluster, ioctx, image)
        except rbd.ImageNotFound:
            return ()

    return cluster.call(f"reading the parents of {ref}", read)


class _Open(Struct, frozen=True, kw_only=True):
    """An image, open to be read."""

    cluster: Cluster
    ioctx: Any
    ref: ImageRef
    image: Any


def _details(cluster: Cluster, ioctx: Any, ref: ImageRef, image: Any, moved: Moved) -> ImageDetails:
    parents = _parents(cluster, ioctx, image)
    clone_format = 2 if image.op_features() & rbd.RBD_OPERATION_FEATURE_CLONE_CHILD else 1
    usage = usage_of(ioctx, ref, image, moved)
    used_by_name = usage.by_snapshot if usage else {}
    has_data_pool = bool(image.features() & rbd.RBD_FEATURE_DATA_POOL)
    return ImageDetails(
        # First: the snapshots are read by setting the open image to each.
        image=describe_image(cluster, ioctx, ref, image, usage=True),
        parents=parents,
        clone_format=clone_format if parents else 0,
        overlap_bytes=image.overlap() if parents else 0,
        usage=usage,
        flags=flag_names(image.flags()),
        stripe_unit_bytes=image.stripe_unit(),
        stripe_count=image.stripe_count(),
        data_pool=cluster.pool_name(image.data_pool_id()) if has_data_pool else "",
        data_prefix=bindings_or_bytes(image.block_name_prefix, lambda: "(not UTF-8)"),
        accessed_at=seconds_of(image.access_timestamp()),
        modified_at=seconds_of(image.modify_timestamp()),
        lock=_lock(image),
        options=_options(ioctx, image),
        mirroring=_is_mirrored(image),
        copied_state=copied_state_of(metadata_of(ioctx, image), str(image.id())),
        group=_group(cluster, ref, ioctx, image),
        snapshots=tuple(_snapshots(_Open(cluster=cluster, ioctx=ioctx, ref=ref, image=image), used_by_name, moved)),
    )


def _oldest_first(ioctx: Any, image: Any) -> list[dict[str, Any]]:
    return sorted(snapshots_of(ioctx, image), key=lambda snapshot: int(snapshot["id"]))


def _snapshots(opened: _Open, used_by_name: Mapping[str, int], moved: Moved) -> Iterator[Snapshot]:
    for found in _oldest_first(opened.ioctx, opened.image):
        moved()
        yield _snapshot(opened, found, used_by_name)


def _snapshot(opened: _Open, found: dict[str, Any], used_by_name: Mapping[str, int]) -> Snapshot:
    image = opened.image
    kind = _KINDS.get(found["namespace"], SnapshotKind.UNKNOWN)
    image.set_snap_by_id(found["id"])
    children = clones_of(opened.cluster, opened.ioctx, image, found["id"])
    image.set_snap(None)
    return Snapshot(
        snapshot_id=found["id"],
        name=found["name"],
        kind=kind,
        label=_label(opened.cluster, opened.ref, found, kind),
        size_bytes=found["size"],
        created_at=seconds_of(image.get_snap_timestamp(found["id"])),
        protected=kind is SnapshotKind.USER and bool(image.is_protected_snap(as_bytes(found["name"]))),
        children=tuple(sorted(children)),
        used_bytes=used_by_name.get(found["name"]) if kind is SnapshotKind.USER else None,
    )


def _label(cluster: Cluster, ref: ImageRef, found: dict[str, Any], kind: SnapshotKind) -> str:
    match kind:
        case SnapshotKind.TRASH:
            return str(found["trash"]["original_name"])
        case SnapshotKind.GROUP:
            return f"{_group_name(cluster, ref, found['group'])}@{found['group']['snap_name']}"
        case _:
            return str(found["name"])


def _parents(cluster: Cluster, ioctx: Any, image: Any, depth: int = 0) -> tuple[ImageRef, ...]:
    """Return the chain of parents, the image's own first."""
    ref = parent_of(cluster, ioctx, image)
    if ref is None:
        return ()
    if depth == _LONGEST_CHAIN:
        return (ref,)
    try:
        # By its id: a parent in the trash has no name.
        with (
            cluster.ioctx(ref) as there,
            open_image(there, ref, image_id=image.parent_id(), read_only=True) as parent,
        ):
            return (ref, *_parents(cluster, there, parent, depth + 1))
    except (rbd.ImageNotFound, rbd.PermissionError, rados.PermissionError, ClusterError, ConfigError, DeniedError):
        return (ref,)


def _lock(image: Any) -> tuple[str, ...]:
    """Return the holder of the advisory lock; the exclusive lock appears there too."""
    odd = {"lockers": [("(a name that is not UTF-8)", "", "an address unknown")]}
    held = bindings_or_bytes(image.list_lockers, lambda: odd)
    return tuple(f"{client} at {address}" for client, _, address in held["lockers"]) if held else ()


def _options(ioctx: Any, image: Any) -> tuple[Option, ...]:
    def own() -> tuple[Option, ...]:
        found = config_of(metadata_of(ioctx, image))
        return tuple(Option(name=name, value=value, source="image") for name, value in sorted(found.items()))

    return bindings_or_bytes(lambda: tuple(map(_option, image.config_list())), own)


def _option(each: dict[str, Any]) -> Option:
    return Option(name=each["name"], value=each["value"], source=_SOURCES.get(each["source"], "config"))


def _is_mirrored(image: Any) -> bool:
    # Pools without mirroring answer with an error.
    with suppress(rbd.Error):
        return bool(image.mirror_image_get_info()["state"] != rbd.RBD_MIRROR_IMAGE_DISABLED)
    return False


def _group(cluster: Cluster, ref: ImageRef, ioctx: Any, image: Any) -> str:
    found = group_of(ioctx, image)
    return _group_name(cluster, ref, found) if found.get("name") else ""


def _group_name(cluster: Cluster, ref: ImageRef, found: dict[str, Any]) -> str:
    """Return the group as `rbd group` names it; librbd gives its pool by number, and it is in the image's namespace."""
    return str(ImageRef(pool=cluster.pool_name(found["pool"]), namespace=ref.namespace, name=found["name"]))
