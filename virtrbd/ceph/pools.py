"""Pools that accept no data: in a full pool writes block for ever, in a forbidden one librbd leaves half images."""

import uuid
from collections.abc import Iterable

from virtrbd.ceph.bindings import rados
from virtrbd.ceph.cluster import Cluster, no_pool, refuse_missing_namespace
from virtrbd.errors import ClusterError, DeniedError
from virtrbd.model.image import ImageRef
from virtrbd.model.record import replace
from virtrbd.model.size import format_size


def refuse_full(cluster: Cluster, *pools: str) -> None:
    """Raise ClusterError when one of the pools (empty names aside) is full, with the quota that it met; ConfigError
    when a pool does not exist."""
    named = [pool for pool in pools if pool]
    if not named:
        return
    by_name = {pool["pool_name"]: pool for pool in cluster.command("osd pool ls", detail="detail")}
    for name in named:
        pool = by_name.get(name)
        if pool is None:
            raise no_pool(name)
        if "full" in pool["flags_names"].split(","):
            raise ClusterError(
                f"pool {name} is full ({_reason(pool)}); free space in it, or raise the limit, then run again"
            )


def refuse_closed(cluster: Cluster, ref: ImageRef, data_pool: str) -> None:
    """Raise DeniedError when the user has no rights in the pool for the image's data; for use within one `call`.

    librbd checks them only for the first image of a pool, and half removes an image that it may not trim: its
    id is gone, name and header stay (measured with 16.2).
    """
    with cluster.ioctx(replace(ref, pool=data_pool)) as ioctx:
        # Otherwise it would wait for ever in a full pool.
        ioctx.set_osdmap_full_try()
        try:
            ioctx.remove_object(f"rbd_data.{uuid.uuid4().hex}")
        except rados.ObjectNotFound:
            return
        except (rados.PermissionError, rados.PermissionDeniedError):
            user = f"client.{cluster.settings.ceph.user}"
            raise DeniedError(
                f"image {ref}: {user} may not write to its data pool {data_pool}; add `profile rbd pool={data_pool}` "
                f"to its osd caps with `ceph auth caps {user}`"
            ) from None


def refuse_missing_rooms(cluster: Cluster, refs: Iterable[ImageRef]) -> None:
    """Raise ConfigError when the pool or the namespace of one of the images does not exist."""

    def look() -> None:
        for ref in {ref.pool_spec: ref for ref in refs}.values():
            with cluster.ioctx(ref) as ioctx:
                refuse_missing_namespace(ioctx, ref)

    cluster.call("looking for the pools and namespaces", look)


def _reason(pool: dict[str, object]) -> str:
    quotas = []
    if isinstance(size_bytes := pool["quota_max_bytes"], int) and size_bytes:
        quotas.append(f"quota {format_size(size_bytes)}")
    if objects := pool["quota_max_objects"]:
        quotas.append(f"quota {objects} objects")
    return " and ".join(quotas) if "full_quota" in str(pool["flags_names"]) else "the cluster has no space left"
