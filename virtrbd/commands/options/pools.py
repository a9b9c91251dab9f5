"""Pools and namespaces as the command line names them, where a verb is about all images in them."""

from collections.abc import Sequence

import click

from virtrbd.errors import UsageError
from virtrbd.model.names import LONGEST_NAMESPACE, check_name
from virtrbd.printable import quoted

# A pool, and a namespace in it; empty for the default one.
Room = tuple[str, str]

POOLS = click.argument("pools", metavar="[POOL[/NAMESPACE]]...", nargs=-1)


def rooms_of(pools: Sequence[str], default: str) -> list[Room]:
    """Return pool and namespace of each argument. Raises UsageError."""
    rooms = []
    for text in pools or (default,):
        pool, _, namespace = text.partition("/")
        if not pool or "/" in namespace or "@" in text:
            raise UsageError(f"{quoted(text)} is not the name of a pool; write pool or pool/namespace")
        try:
            check_name(pool)
            check_name(namespace, LONGEST_NAMESPACE)
        except ValueError as error:
            raise UsageError(str(error)) from None
        rooms.append((pool, namespace))
    return rooms
