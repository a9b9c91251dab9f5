"""The families of the images of pools: read from headers and object maps in batches, without opening the images.

An image that does not answer, or cannot be read, is in the result with the reason; the others are read (law 7).
"""

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TypeVar

from msgspec import Struct

from virtrbd.ceph import class_calls
from virtrbd.ceph.bindings import rados
from virtrbd.ceph.cluster import Cluster, Moved
from virtrbd.ceph.family_header import FamilyHeader, HeaderSnapshot, decode_family, open_family
from virtrbd.ceph.features import feature_names
from virtrbd.ceph.header import ParentKey
from virtrbd.ceph.header_batch import read_values
from virtrbd.ceph.listing import image_names, list_format_1
from virtrbd.ceph.metadata import mark_of, state_of
from virtrbd.ceph.object_maps import Amount, MapOf, read_amounts
from virtrbd.ceph.texts import is_utf8
from virtrbd.ceph.trash import list_trash
from virtrbd.ceph.unread import image_or_failure, silent_image
from virtrbd.contained import contained
from virtrbd.errors import ClusterError, ExitCode, VirtrbdError
from virtrbd.model.failure import Failure, failure_of
from virtrbd.model.family import Families, FamilyImage, FamilySnapshot, ImageKey, ParentLink
from virtrbd.model.image import ImageRef
from virtrbd.model.image_state import OtherState
from virtrbd.model.record import replace
from virtrbd.printable import shell_command

T = TypeVar("T")

# Headers whose reads are under way at once in one thread.
_AT_A_TIME = 256
_THREADS = 8
# A read that gets no answer ends by itself at the deadline, and the others of its batch are then known.
_GRACE_S = 2.0
# Generations outside of the pools, and images there, that are looked at: hostile metadata may lead from pool to pool.
_MOST_ROUNDS = 32
_MOST_OUTSIDE = 20_000

Found = dict[ImageKey, FamilyImage]


class _Named(Struct, frozen=True, kw_only=True):
    """What a directory says of an image."""

    ref: ImageRef
    expires_at: float | None = None


def read_families(cluster: Cluster, rooms: Sequence[tuple[str, str]]) -> Families:
    """Return the images of pools' namespaces, with their ancestors and descendants wherever these are."""
    found: Found = {}
    unread: dict[str, Failure] = {}
    for pool, namespace in dict.fromkeys(rooms):
        where = ImageRef(pool=pool, namespace=namespace, name="")
        part = _or_failure(f"listing {where.pool_spec}", partial(_listed, cluster, where))
        if isinstance(part, Failure):
            unread[where.pool_spec] = part
        else:
            found |= part
    for _ in range(_MOST_ROUNDS):
        if not (outside := _relatives(found)):
            return Families(images=found, unread_pools=unread)
        if len(outside) + sum(not image.is_listed for image in found.values()) > _MOST_OUTSIDE:
            break
        found |= _outside(cluster, outside)
    return Families(images=found, unread_pools=unread, is_cut=True)


def _or_failure(what: str, read: Callable[[], T]) -> T | Failure:
    """Return what `read` returns, or why it failed: one pool that does not answer holds up no other."""
    try:
        with contained(what):
            return read()
    except VirtrbdError as error:
        return failure_of(error)


def _listed(cluster: Cluster, where: ImageRef) -> Found:
    """Return the images of a pool's namespace, those in its trash too."""
    names = image_names(cluster, where)
    named = {image_id: _Named(ref=replace(where, name=name)) for image_id, name in names if image_id}
    for entry in list_trash(cluster, where.pool, where.namespace):
        named[entry.image_id] = _Named(ref=entry.ref, expires_at=entry.expires_at)
    found = _read(cluster, where, named, is_listed=True)
    pool_id = _pool_id(cluster, where)
    for name in (name for image_id, name in names if not image_id):
        image = _of_format_1(cluster, replace(where, name=name), pool_id)
        found[image.key] = image
    return found


def _of_format_1(cluster: Cluster, ref: ImageRef, pool_id: int) -> FamilyImage:
    # It has no id and no clones; no id has a slash.
    key = ImageKey(pool_id=pool_id, namespace=ref.namespace, image_id=f"/{ref.name}")
    listed = image_or_failure(cluster, ref, partial(list_format_1, cluster, ref))
    if isinstance(listed, Failure) or listed is None:
        gone = Failure(text="was removed meanwhile", exit_code=ExitCode.FAILED)
        return FamilyImage(key=key, ref=ref, is_listed=True, failure=listed or gone)
    return FamilyImage(key=key, ref=ref, is_listed=True, size_bytes=listed.size_bytes, state=listed.state)


def _pool_id(cluster: Cluster, where: ImageRef) -> int:
    def read() -> int:
        with cluster.ioctx(where) as ioctx:
            return int(ioctx.get_pool_id())

    return cluster.call(f"looking up pool {where.pool}", read)


def _relatives(found: Found) -> dict[ImageKey, bool]:
    """Return the parents and clones that were not looked at yet; whether each is only an ancestor."""
    above = {image.parent.key for image in found.values() if image.parent and image.parent.key not in found}
    whole = [image for image in found.values() if not image.is_above]
    below = {key for image in whole for snapshot in image.snapshots for key in snapshot.clones if key not in found}
    return {**dict.fromkeys(above, True), **dict.fromkeys(below, False)}


def _outside(cluster: Cluster, keys: Mapping[ImageKey, bool]) -> Found:
    """Return images of which only the ids are known."""
    found: Found = {}
    for pool_id, namespace in sorted({(key.pool_id, key.namespace) for key in keys}):
        mine = [key for key in sorted(keys) if (key.pool_id, key.namespace) == (pool_id, namespace)]
        pool = _or_failure(f"looking up pool {pool_id}", partial(cluster.pool_name, pool_id))
        where = ImageRef(pool=pool if isinstance(pool, str) else f"(pool {pool_id})", namespace=namespace, name="")
        read = (
            pool
            if isinstance(pool, Failure)
            else _or_failure(
                f"reading {where.pool_spec}", partial(_by_ids, cluster, where, [key.image_id for key in mine])
            )
        )
        for key in mine:
            image = (
                FamilyImage(key=key, ref=_nameless(where, key.image_id), failure=read)
                if isinstance(read, Failure)
                else read[key]
            )
            found[key] = replace(image, is_above=keys[key])
    return found


def _nameless(where: ImageRef, image_id: str) -> ImageRef:
    return replace(where, name=f"(id {image_id})")


def _by_ids(cluster: Cluster, where: ImageRef, image_ids: Sequence[str]) -> Found:
    def names(moved: Moved) -> dict[str, _Named]:
        named = {}
        with cluster.ioctx(where) as ioctx:
            for image_id in image_ids:
                name = class_calls.name_of(ioctx, image_id)
                trashed = "" if name else class_calls.name_in_trash(ioctx, image_id)
                ref = replace(where, name=name or trashed) if name or trashed else _nameless(where, image_id)
                # When it expires concerns the pool that it is in.
                named[image_id] = _Named(ref=ref, expires_at=0.0 if trashed else None)
                moved()
        return named

    return _read(cluster, where, cluster.call_in_steps(f"reading names in {where.pool_spec}", names), is_listed=False)


def _read(cluster: Cluster, where: ImageRef, named: Mapping[str, _Named], *, is_listed: bool) -> Found:
    """Return the images of these ids, in one pool's namespace."""
    pool_id = _pool_id(cluster, where)
    headers = _headers(cluster, where, named)
    amounts = _amounts(cluster, where, {i: each for i, each in headers.items() if isinstance(each, FamilyHeader)})
    old_clones = _old_clones(cluster, where, pool_id, headers)
    found: Found = {}
    for image_id, name in named.items():
        key, header = ImageKey(pool_id=pool_id, namespace=where.namespace, image_id=image_id), headers[image_id]
        image = FamilyImage(key=key, ref=name.ref, expires_at=name.expires_at, is_listed=is_listed)
        found[key] = (
            replace(image, failure=header)
            if isinstance(header, Failure)
            else _described(image, header, amounts, old_clones)
        )
    return found


def _headers(cluster: Cluster, where: ImageRef, named: Mapping[str, _Named]) -> dict[str, FamilyHeader | Failure]:
    """Return the headers by id, or why one cannot be read. Raises UnavailableError when no image answers."""

    def read(image_ids: Sequence[str]) -> dict[str, tuple[int, FamilyHeader | None]]:
        with cluster.ioctx(where) as ioctx:
            found = {
                image_id: (code, decode_family(values) if code >= 0 else None)
                for image_id, completion, values in read_values(ioctx, image_ids)
                for code in (completion.get_return_value(),)
            }
            if all(code == -errno.ETIMEDOUT for code, _ in found.values()):
                # Doing one again raises that Ceph does not answer.
                ioctx.stat(f"rbd_header.{image_ids[0]}")
            return found

    readable = [image_id for image_id in named if is_utf8(image_id)]
    read_ones: dict[str, tuple[int, FamilyHeader | None]] = dict.fromkeys(named, (0, None))
    for part in _in_batches(cluster, f"reading headers in {where.pool_spec}", readable, read):
        read_ones |= part
    return {
        image_id: header or _header_otherwise(cluster, named[image_id].ref, image_id, code)
        for image_id, (code, header) in read_ones.items()
    }


def _header_otherwise(cluster: Cluster, ref: ImageRef, image_id: str, code: int) -> FamilyHeader | Failure:
    """Return the header by opening the image, or why there is none; `code`: what reading it ended with."""
    if code == -errno.ETIMEDOUT:
        return failure_of(silent_image(cluster, ref, f"rbd_header.{image_id}"))
    if code == -errno.ENOENT:
        repair = shell_command("virtrbd image repair", ref, options="--plan")
        return failure_of(ClusterError(f"has no header; `{repair}` shows what is left of it"))

    def opened() -> FamilyHeader:
        with cluster.ioctx(ref) as ioctx:
            return open_family(ioctx, ref, image_id)

    what = f"reading image {ref}"
    return image_or_failure(cluster, ref, lambda: cluster.call(what, opened), image_id)


def _in_batches(
    cluster: Cluster, what: str, items: Sequence[str], read: Callable[[Sequence[str]], T], size: int = _AT_A_TIME
) -> Iterator[T]:
    batches = [items[at : at + size] for at in range(0, len(items), size)]
    with ThreadPoolExecutor(_THREADS) as threads:
        yield from threads.map(lambda batch: cluster.call(what, partial(read, batch), _GRACE_S), batches)


def _amounts(
    cluster: Cluster, where: ImageRef, headers: Mapping[str, FamilyHeader]
) -> Mapping[tuple[str, int], Amount | None]:
    """Return what each image and snapshot takes, by the image's id and the snapshot's, 0 for the image as it is."""

    def read(image_ids: Sequence[str]) -> dict[tuple[str, int], Amount | None]:
        maps = [each for image_id in image_ids for each in _maps_of(image_id, headers[image_id])]
        with cluster.ioctx(where) as ioctx:
            return {(of.image_id, of.snapshot_id): amount for of, amount in read_amounts(ioctx, maps).items()}

    found: dict[tuple[str, int], Amount | None] = {}
    with suppress(VirtrbdError):
        # What Ceph does not say is unknown.
        for part in _in_batches(cluster, f"reading object maps in {where.pool_spec}", list(headers), read):
            found |= part
    return found


def _maps_of(image_id: str, header: FamilyHeader) -> Iterator[MapOf]:
    object_bytes = 1 << header.header.order
    of = partial(MapOf, image_id=image_id, object_bytes=object_bytes)
    if header.has_map:
        yield of(snapshot_id=0, size_bytes=header.header.size_bytes)
    yield from (
        of(snapshot_id=each.snapshot_id, size_bytes=each.size_bytes) for each in header.snapshots if each.has_map
    )


def _old_clones(
    cluster: Cluster, where: ImageRef, pool_id: int, headers: Mapping[str, FamilyHeader | Failure]
) -> Mapping[tuple[str, int], frozenset[ImageKey]]:
    """Return the clones (v1) by the parent's id and the snapshot's: their own pools list them, by snapshot.

    They are in the namespace of their parent, and keep its snapshot protected.
    """
    protected = [
        (image_id, snapshot.snapshot_id)
        for image_id, header in headers.items()
        if isinstance(header, FamilyHeader)
        for snapshot in header.snapshots
        if snapshot.is_protected
    ]

    def read(pool: str, moved: Moved) -> dict[tuple[str, int], frozenset[ImageKey]]:
        found = {}
        with cluster.ioctx(ImageRef(pool=pool, namespace=where.namespace, name="")) as ioctx:
            try:
                ioctx.stat("rbd_children")
            except rados.ObjectNotFound:
                return {}
            for image_id, snapshot_id in protected:
                parent = ParentKey(
                    pool_id=pool_id, namespace=where.namespace, image_id=image_id, snapshot_id=snapshot_id
                )
                clones = class_calls.list_old_clones(ioctx, parent)
                found[image_id, snapshot_id] = frozenset(
                    ImageKey(pool_id=ioctx.get_pool_id(), namespace=where.namespace, image_id=each) for each in clones
                )
                moved()
        return found

    found: dict[tuple[str, int], frozenset[ImageKey]] = {}
    for pool in sorted(cluster.pools()) if protected else ():
        # A pool that this user may not read, or that does not answer, may have more.
        with suppress(VirtrbdError):
            for key, clones in cluster.call_in_steps(f"reading clones in {pool}", partial(read, pool)).items():
                found[key] = found.get(key, frozenset()) | clones
    return found


def _described(
    image: FamilyImage,
    found: FamilyHeader,
    amounts: Mapping[tuple[str, int], Amount | None],
    old_clones: Mapping[tuple[str, int], frozenset[ImageKey]],
) -> FamilyImage:
    header, image_id = found.header, image.key.image_id
    own = amounts.get((image_id, 0))

    def snapshot_of(each: HeaderSnapshot, is_first: bool) -> FamilySnapshot:
        amount = amounts.get((image_id, each.snapshot_id))
        return FamilySnapshot(
            snapshot_id=each.snapshot_id,
            label=each.label,
            kind=each.kind,
            size_bytes=each.size_bytes,
            created_at=each.created_at,
            is_protected=each.is_protected,
            used_bytes=_used(amount, is_first),
            allocated_bytes=amount.existing_bytes if amount else None,
            clones=frozenset(map(_key_of, found.clones.get(each.snapshot_id, ())))
            | old_clones.get((image_id, each.snapshot_id), frozenset()),
        )

    parent = header.parent if header.parent and header.parent.is_of_head else None
    return replace(
        image,
        size_bytes=header.size_bytes,
        used_bytes=_used(own, not found.snapshots),
        created_at=header.created_at,
        features=feature_names(header.features),
        parent=_link_of(parent) if parent else None,
        snapshots=tuple(snapshot_of(each, at == 0) for at, each in enumerate(found.snapshots)),
        mark=mark_of(header.metadata, image_id),
        state=state_of(header.metadata, image_id) or _moving_state(header.features),
    )


def _moving_state(features: int) -> OtherState | None:
    return OtherState("migrating") if "migrating" in feature_names(features) else None


def _used(amount: Amount | None, is_first: bool) -> int | None:
    """Return the bytes since the snapshot before, which for the first one are all."""
    if amount is None:
        return None
    return amount.existing_bytes if is_first else amount.written_bytes


def _key_of(clone: ParentKey) -> ImageKey:
    return ImageKey(pool_id=clone.pool_id, namespace=clone.namespace, image_id=clone.image_id)


def _link_of(parent: ParentKey) -> ParentLink:
    return ParentLink(key=_key_of(parent), snapshot_id=parent.snapshot_id, overlap_bytes=parent.overlap_bytes)
