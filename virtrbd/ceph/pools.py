"""Pools that are full: everything that writes to one blocks for ever, and nothing says why."""

from collections.abc import Iterable

from virtrbd.ceph.cluster import Cluster, no_pool, refuse_missing_namespace
from virtrbd.errors import ClusterError
from virtrbd.model.image import ImageRef
from virtrbd.model.size import format_size


def refuse_full(cluster: Cluster, *pools: str) -> None:
    """Raise ClusterError when one of the pools (empty names aside) takes no more data, with the quota that it met;
    ConfigError when there is none of that name."""
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


def refuse_missing_rooms(cluster: Cluster, refs: Iterable[ImageRef]) -> None:
    """Raise ConfigError when the pool or the namespace of one of the images is not there."""

    def look() -> None:
        for ref in {ref.room: ref for ref in refs}.values():
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
