"""Lists of images, from their headers: opening an image takes 2 to 4 ms, reading its header 0.1 ms."""

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from virtrbd.ceph.bindings import rbd
from virtrbd.ceph.class_calls import list_names
from virtrbd.ceph.cluster import Cluster, refuse_missing_namespace
from virtrbd.ceph.contents import object_bytes_of, user_snapshots_of
from virtrbd.ceph.features import feature_names
from virtrbd.ceph.header import Header, ParentKey
from virtrbd.ceph.header_batch import read_ids
from virtrbd.ceph.header_io import read_header
from virtrbd.ceph.images import read_image
from virtrbd.ceph.metadata import mark_of, state_of
from virtrbd.ceph.opening import open_image
from virtrbd.ceph.texts import is_utf8
from virtrbd.ceph.unread import image_or_failure, or_failure
from virtrbd.model.failure import Failure
from virtrbd.model.image import ImageRef
from virtrbd.model.image_details import ListedImage, Listing, UnreadImage
from virtrbd.model.image_state import OtherState

# The state of an image that virtrbd only lists.
FORMAT_1 = "format 1"
_AT_A_TIME = 16
# Images whose headers are read within one deadline.
_CHUNK = 32
# Ids that are read at once, within one deadline.
_IDS_AT_A_TIME = 256


def list_images(cluster: Cluster, pool: str, namespace: str = "") -> Listing:
    """Return the images of a pool's namespace by name. Raises ConfigError for a missing pool or namespace."""
    where = ImageRef(pool=pool, namespace=namespace, name="")
    images = image_names(cluster, where)
    headers = read_headers(cluster, where, [image_id for image_id, _ in images])
    by_name = _ids_by_name(cluster, where, [name for _, name in images])
    parents = _parent_refs(cluster, [header.parent for header in headers.values() if header and header.parent])

    def read(ref: ImageRef, image_id: str) -> ListedImage | None:
        header = headers.get(image_id)
        parent = parents.get(header.parent) if header and header.parent else None
        # An image whose name leads nowhere was half moved or half removed: opening it reports that.
        is_known = by_name.get(ref.name) == image_id or not is_utf8(ref.name)
        if header and is_known and (parent or not header.parent):
            return _from_header(ref, image_id, header, parent)
        return list_opened(cluster, ref) if image_id else list_format_1(cluster, ref)

    listed, unread = [], []
    for image_id, name in images:
        ref = ImageRef(pool=pool, namespace=namespace, name=name)
        found = image_or_failure(cluster, ref, partial(read, ref, image_id))
        if isinstance(found, Failure):
            unread.append(UnreadImage(ref=ref, image_id=image_id, failure=found))
        elif found:
            listed.append(found)
    return Listing(
        images=tuple(sorted(listed, key=lambda image: image.ref)),
        unread=tuple(sorted(unread, key=lambda image: image.ref)),
    )


def list_opened(cluster: Cluster, ref: ImageRef) -> ListedImage | None:
    """Return what a list shows of the image, by opening it; None when it is gone."""
    image = read_image(cluster, ref)
    if image is None:
        return None
    return ListedImage(
        ref=ref,
        image_id=image.image_id,
        size_bytes=image.size_bytes,
        object_bytes=image.object_bytes,
        features=image.features,
        created_at=image.created_at,
        snapshots=len(image.snapshots),
        parent=image.parent,
        mark=image.mark,
        state=image.state,
    )


def list_format_1(cluster: Cluster, ref: ImageRef) -> ListedImage | None:
    """Return what a list shows of an image of the oldest format, which has no id; None when it is gone."""

    def read() -> ListedImage | None:
        try:
            with cluster.ioctx(ref) as ioctx, open_image(ioctx, ref, read_only=True, any_format=True) as image:
                return ListedImage(
                    ref=ref,
                    image_id="",
                    size_bytes=image.size(),
                    object_bytes=object_bytes_of(ioctx, image),
                    features=(),
                    created_at=0.0,
                    snapshots=len(user_snapshots_of(ioctx, image)),
                    state=OtherState(FORMAT_1),
                )
        except rbd.ImageNotFound:
            return None

    return cluster.call(f"reading image {ref}", read)


def _from_header(ref: ImageRef, image_id: str, header: Header, parent: ImageRef | None) -> ListedImage:
    return ListedImage(
        ref=ref,
        image_id=image_id,
        size_bytes=header.size_bytes,
        object_bytes=1 << header.order,
        features=feature_names(header.features),
        created_at=float(int(header.created_at)),
        snapshots=len(header.snapshots),
        parent=parent,
        mark=mark_of(header.metadata, image_id),
        state=state_of(header.metadata, image_id),
    )


def image_names(cluster: Cluster, where: ImageRef) -> list[tuple[str, str]]:
    """Return id and name of each image; of the oldest format the id is empty."""

    def read() -> list[tuple[str, str]]:
        with cluster.ioctx(where) as ioctx:
            try:
                found = [(image["id"], image["name"]) for image in rbd.RBD().list2(ioctx)]
            except (UnicodeDecodeError, rbd.IOError):
                found = list_names(ioctx)
            if not found:
                refuse_missing_namespace(ioctx, where)
            return found

    return cluster.call(f"listing pool {where.pool}", read)


def _ids_by_name(cluster: Cluster, where: ImageRef, names: Sequence[str]) -> dict[str, str]:
    """Return the ids that the names lead to, where they lead to one."""

    def read(some: Sequence[str]) -> dict[str, str]:
        with cluster.ioctx(where) as ioctx:
            return read_ids(ioctx, some)

    # The bindings take only such names of objects.
    readable = [name for name in names if is_utf8(name)]
    found: dict[str, str] = {}
    for at in range(0, len(readable), _IDS_AT_A_TIME):
        some = readable[at : at + _IDS_AT_A_TIME]
        found |= cluster.call(f"reading ids in pool {where.pool}", partial(read, some))
    return found


def read_headers(cluster: Cluster, where: ImageRef, image_ids: Sequence[str]) -> dict[str, Header | None]:
    """Return the headers of a namespace's images by id, those in the trash too; None for what must be opened."""

    def read(chunk: Sequence[str]) -> dict[str, Header | None]:
        # A separate context: two threads must not share one.
        with cluster.ioctx(where) as ioctx:
            # The bindings take only such names of objects; an image with another id is opened.
            return {image_id: read_header(ioctx, image_id) for image_id in chunk if image_id and is_utf8(image_id)}

    # An even share for each thread: otherwise a pool of few images takes one round trip after the other.
    size = max(1, min(_CHUNK, -(-len(image_ids) // _AT_A_TIME)))
    chunks = [image_ids[at : at + size] for at in range(0, len(image_ids), size)]
    found: dict[str, Header | None] = {}
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        what = f"reading headers in pool {where.pool}"
        for part in pool.map(lambda chunk: cluster.call(what, lambda: read(chunk)), chunks):
            found |= part
    return found


def _parent_refs(cluster: Cluster, keys: Sequence[ParentKey]) -> Mapping[ParentKey, ImageRef]:
    """Return the names of parents; a parent that left its pool (into the trash) has none here."""
    found: dict[ParentKey, ImageRef] = {}
    namespaces = {(key.pool_id, key.namespace) for key in keys}
    for pool_id, namespace in sorted(namespaces):
        mine = {key for key in keys if (key.pool_id, key.namespace) == (pool_id, namespace)}
        # Each clone in that namespace reports what is wrong with the namespace, because it is opened then.
        named = or_failure("reading parents", partial(_parents_in, cluster, pool_id, namespace, mine))
        found |= {} if isinstance(named, Failure) else named
    return found


def _parents_in(
    cluster: Cluster, pool_id: int, namespace: str, keys: Collection[ParentKey]
) -> dict[ParentKey, ImageRef]:
    found = {}
    where = ImageRef(pool=cluster.pool_name(pool_id), namespace=namespace, name="")
    names = dict(image_names(cluster, where))
    headers = read_headers(cluster, where, sorted({key.image_id for key in keys}))
    for key in keys:
        header = headers.get(key.image_id)
        snapshot = header.snapshots.get(key.snapshot_id) if header else None
        if snapshot and key.image_id in names:
            found[key] = ImageRef(pool=where.pool, namespace=namespace, name=names[key.image_id], snapshot=snapshot)
    return found
