"""The namespaces of a pool; librbd does not show their images in the pool's list."""

from typing import Any

from virtrbd.ceph.bindings import rbd
from virtrbd.ceph.class_calls import list_namespaces as by_class_call
from virtrbd.ceph.cluster import Cluster
from virtrbd.ceph.texts import bindings_or_bytes
from virtrbd.errors import DeniedError
from virtrbd.model.image import ImageRef


def list_namespaces(cluster: Cluster, pool: str) -> tuple[str, ...]:
    """Return their names, none where the user may not list them. Raises ConfigError for a missing pool."""

    def read() -> tuple[str, ...]:
        with cluster.ioctx(ImageRef(pool=pool, name="")) as ioctx:
            return tuple(sorted(_names(ioctx)))

    try:
        return cluster.call(f"listing the namespaces of pool {pool}", read)
    except DeniedError:
        return ()


def _names(ioctx: Any) -> list[str]:
    return bindings_or_bytes(lambda: list(rbd.RBD().namespace_list(ioctx)), lambda: by_class_call(ioctx))
