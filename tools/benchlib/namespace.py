"""Images to measure on, in a namespace of their own: made and removed by many threads.

Usage: namespace.py make CEPH_CONF USER POOL NAMESPACE COUNT   (each of 1 GiB, in every fifth some data)
       namespace.py remove CEPH_CONF USER POOL NAMESPACE [PREFIX]   (all in it and itself, or what begins so)
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import rados
import rbd

AT_A_TIME = 16
# A client that was killed watches on for so long.
WATCH_TAKES_S = 40.0
SIZE_BYTES = 1024**3


def main(verb: str, conf: str, user: str, pool: str, namespace: str, *rest: str) -> None:
    """Make or remove."""
    with rados.Rados(conffile=conf, rados_id=user) as cluster, cluster.open_ioctx(pool) as room:
        if verb == "make":
            rbd.RBD().namespace_create(room, namespace)
            names = [f"image-{number:04}" for number in range(int(rest[0]))]
            in_threads(cluster, pool, namespace, make, names)
        elif rbd.RBD().namespace_exists(room, namespace):
            remove_all(cluster, pool, namespace, *rest)
            if not rest:
                rbd.RBD().namespace_remove(room, namespace)


def remove_all(cluster: rados.Rados, pool: str, namespace: str, prefix: str = "") -> None:
    """Remove the images of that prefix, clones before what they are cloned from."""
    with cluster.open_ioctx(pool) as room:
        room.set_namespace(namespace)
        names = [name for name in rbd.RBD().list(room) if name.startswith(prefix)]
    parents = [name for name in names if name.startswith("golden")]
    in_threads(cluster, pool, namespace, remove, [name for name in names if name not in parents])
    in_threads(cluster, pool, namespace, remove, parents)


def in_threads(
    cluster: rados.Rados, pool: str, namespace: str, use: Callable[[rados.Ioctx, str], None], names: Sequence[str]
) -> None:
    """Call `use` with each name. A context is for one thread only."""

    def run(share: Sequence[str]) -> None:
        with cluster.open_ioctx(pool) as room:
            room.set_namespace(namespace)
            for name in share:
                use(room, name)

    with ThreadPoolExecutor(AT_A_TIME) as threads:
        list(threads.map(run, [names[at::AT_A_TIME] for at in range(AT_A_TIME)]))


def make(room: rados.Ioctx, name: str) -> None:
    """Make an image."""
    rbd.RBD().create(room, name, SIZE_BYTES)
    if name.endswith(("0", "5")):
        with rbd.Image(room, name) as image:
            image.write(b"data", 0)


def remove(room: rados.Ioctx, name: str) -> None:
    """Remove an image with its snapshots, and what is left of one whose making was cut off."""
    with suppress(rbd.ImageNotFound), rbd.Image(room, name) as image:
        for snapshot in list(image.list_snaps()):
            if image.is_protected_snap(snapshot["name"]):
                image.unprotect_snap(snapshot["name"])
            image.remove_snap(snapshot["name"])
    give_up_at = time.monotonic() + WATCH_TAKES_S
    while True:
        try:
            rbd.RBD().remove(room, name)
            return
        except rbd.ImageBusy:
            if time.monotonic() > give_up_at:
                raise
        time.sleep(1)


main(*sys.argv[1:])
