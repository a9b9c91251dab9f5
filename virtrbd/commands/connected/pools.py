"""Namespaces of pools that a verb did not look at."""

from collections.abc import Sequence

from virtrbd.ceph.cluster import Cluster
from virtrbd.ceph.namespaces import list_namespaces
from virtrbd.commands.frame.run import Run
from virtrbd.commands.options.pools import Room


def show_others(run: Run, cluster: Cluster, rooms: Sequence[Room]) -> list[str]:
    """Say which namespaces of the pools were not looked at, and return them: a pool alone means its default one."""
    pools = sorted({pool for pool, namespace in rooms if not namespace})
    others = [
        f"{pool}/{name}" for pool in pools for name in list_namespaces(cluster, pool) if (pool, name) not in rooms
    ]
    if others and not run.is_json:
        run.say(f"not looked at: {', '.join(others)}; name a namespace to look there")
    return others
