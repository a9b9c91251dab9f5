"""The space of pools, as `ceph df` shows it."""

from virtrbd.ceph.cluster import Cluster
from virtrbd.model.overview import PoolSpace


def read_pool_spaces(cluster: Cluster) -> dict[str, PoolSpace]:
    """Return the space of all pools by name. Raises ClusterError, UnavailableError."""
    pools = cluster.command("df", detail="detail")["pools"]
    return {
        pool["name"]: PoolSpace(
            name=pool["name"],
            stored_bytes=int(pool["stats"]["stored"]),
            free_bytes=int(pool["stats"]["max_avail"]),
            quota_bytes=int(pool["stats"].get("quota_bytes", 0)),
        )
        for pool in pools
    }
