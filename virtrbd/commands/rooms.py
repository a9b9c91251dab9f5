"""Pools and namespaces as the command line names them, where a verb is about all images in them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from virtrbd.commands.app import Run
from virtrbd.errors import UsageError
from virtrbd.model.names import LONGEST_NAMESPACE, check_name
from virtrbd.printable import quoted

if TYPE_CHECKING:
    from virtrbd.ceph.cluster import Cluster

# A pool, and a namespace in it; empty for the default one.
Room = tuple[str, str]

POOLS = click.argument("pools", metavar="[POOL[/NAMESPACE]]...", nargs=-1)


def rooms_of(pools: Sequence[str], default: str) -> list[Room]:
    """Return pool and namespace of each argument. Raises UsageError."""
    rooms = []
    for text in pools or (default,):
        pool, _, namespace = text.partition("/")
        if not pool or "/" in namespace or "@" in text:
            raise UsageError(f"{quoted(text)} names no pool; write pool or pool/namespace")
        try:
            check_name(pool)
            check_name(namespace, LONGEST_NAMESPACE)
        except ValueError as error:
            raise UsageError(str(error)) from None
        rooms.append((pool, namespace))
    return rooms


def tell_others(run: Run, cluster: "Cluster", rooms: Sequence[Room]) -> list[str]:
    """Say which namespaces of the pools were not looked at, and return them: a pool alone means its default one."""
    from virtrbd.ceph.namespaces import list_namespaces

    pools = sorted({pool for pool, namespace in rooms if not namespace})
    others = [
        f"{pool}/{name}" for pool in pools for name in list_namespaces(cluster, pool) if (pool, name) not in rooms
    ]
    if others and not run.is_json:
        run.say(f"not looked at: {', '.join(others)}; name a namespace to look there")
    return others
