"""The namespaces of a pool: rooms of their own, which librbd shows nothing of in the pool's list."""

from virtrbd.ceph.bindings import rbd
from virtrbd.ceph.cluster import Cluster
from virtrbd.errors import DeniedError
from virtrbd.model.image import ImageRef


def list_namespaces(cluster: Cluster, pool: str) -> tuple[str, ...]:
    """Return their names, none where the user may not ask. Raises ConfigError for a pool that is not there."""

    def read() -> tuple[str, ...]:
        with cluster.ioctx(ImageRef(pool=pool, name="")) as ioctx:
            return tuple(sorted(rbd.RBD().namespace_list(ioctx)))

    try:
        return cluster.call(f"listing the namespaces of pool {pool}", read)
    except DeniedError:
        return ()
