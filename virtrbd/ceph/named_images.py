"""A reader of named images, by their headers: two reads an image instead of the dozen that opening takes.

Not by a list of the pool: that grows with the images of others.
"""

from collections.abc import Mapping, Sequence
from functools import partial

from virtrbd.ceph.cluster import Cluster
from virtrbd.ceph.contents import named
from virtrbd.ceph.features import feature_names
from virtrbd.ceph.header import Header, ParentKey
from virtrbd.ceph.header_batch import read_headers, read_ids
from virtrbd.ceph.images import read_image
from virtrbd.ceph.metadata import config_of, last_run_of, mark_of, running_on, seed_of, state_of
from virtrbd.ceph.texts import is_utf8
from virtrbd.ceph.unread import image_or_failure, or_failure
from virtrbd.model.failure import Failure
from virtrbd.model.image import Image, ImageRef

# Images whose reads are under way at once, within one deadline.
_AT_A_TIME = 256


def read_images(cluster: Cluster, refs: Sequence[ImageRef]) -> dict[ImageRef, Image | Failure | None]:
    """Return the images by name, None for absent ones; without their watchers.

    An image that its header does not describe is opened. Raises UnavailableError when the cluster does not answer.
    """
    headers = _read_all(cluster, sorted(refs))
    parents = _parents(cluster, {header.parent for _, header in headers.values() if header and header.parent})

    def read(ref: ImageRef) -> Image | None:
        image_id, header = headers.get(ref, ("", None))
        parent = parents.get(header.parent) if header and header.parent else None
        if header and (parent or not header.parent) and not ref.snapshot:
            return _image(ref, image_id, header, parent)
        return read_image(cluster, ref)

    return {ref: image_or_failure(cluster, ref, partial(read, ref)) for ref in refs}


def _image(ref: ImageRef, image_id: str, header: Header, parent: ImageRef | None) -> Image:
    return Image(
        ref=ref,
        image_id=image_id,
        size_bytes=header.size_bytes,
        created_at=float(int(header.created_at)),
        mark=mark_of(header.metadata, image_id),
        state=state_of(header.metadata, image_id),
        running_on=running_on(header.metadata, image_id),
        last_run=last_run_of(header.metadata, image_id),
        seed=seed_of(header.metadata, image_id),
        parent=parent,
        object_bytes=1 << header.order,
        features=feature_names(header.features),
        snapshots=tuple(sorted(header.snapshots.values())),
        config=config_of(header.metadata),
    )


def _read_all(cluster: Cluster, refs: Sequence[ImageRef]) -> dict[ImageRef, tuple[str, Header | None]]:
    """Return id and header of each image that has an id."""
    found: dict[ImageRef, tuple[str, Header | None]] = {}
    for (pool, namespace), mine in _by_namespace(refs).items():
        where = ImageRef(pool=pool, namespace=namespace, name="")
        for at in range(0, len(mine), _AT_A_TIME):
            some = partial(_read_some, cluster, where, mine[at : at + _AT_A_TIME])
            read = or_failure("reading images", partial(cluster.call, "reading images", some))
            # Each image of a namespace reports what is wrong with it, when it is opened.
            found |= {} if isinstance(read, Failure) else read
    return found


def _read_some(
    cluster: Cluster, where: ImageRef, refs: Sequence[ImageRef]
) -> dict[ImageRef, tuple[str, Header | None]]:
    with cluster.ioctx(where) as ioctx:
        # The bindings take only such names of objects; librbd takes any.
        ids = read_ids(ioctx, [ref.name for ref in refs if is_utf8(ref.name)])
        headers = read_headers(ioctx, list(ids.values()))
    return {ref: (image_id, headers[image_id]) for ref in refs if (image_id := ids.get(ref.name))}


def _by_namespace(refs: Sequence[ImageRef]) -> Mapping[tuple[str, str], list[ImageRef]]:
    found: dict[tuple[str, str], list[ImageRef]] = {}
    for ref in refs:
        found.setdefault((ref.pool, ref.namespace), []).append(ref)
    return found


def _parents(cluster: Cluster, keys: set[ParentKey]) -> dict[ParentKey, ImageRef]:
    """Return the names of parents; a parent in the trash has none here. There are few: many images share one."""
    found = {}
    for key in keys:
        parent = or_failure("reading parents", partial(cluster.call, "reading parents", partial(_parent, cluster, key)))
        if isinstance(parent, ImageRef):
            found[key] = parent
    return found


def _parent(cluster: Cluster, key: ParentKey) -> ImageRef | None:
    where = ImageRef(pool=cluster.name_of_pool(key.pool_id), namespace=key.namespace, name="")
    return named(cluster, key, where)
