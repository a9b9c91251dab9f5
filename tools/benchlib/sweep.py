"""Remove all domains and images of a prefix, whoever made them: several at a time, running or not.

Usage: sweep.py URI CEPH_CONF USER POOL PREFIX
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import libvirt
import rados
import rbd

AT_A_TIME = 8
# Of a guest that was just destroyed Ceph drops the watch a moment later.
TRIES = 40


def main(uri: str, conf: str, user: str, pool: str, prefix: str) -> None:
    """Remove them."""
    libvirt.registerErrorHandler(lambda *_: None, None)
    connection = libvirt.open(uri)
    domains = [domain for domain in connection.listAllDomains() if domain.name().startswith(prefix)]
    with ThreadPoolExecutor(AT_A_TIME) as threads:
        list(threads.map(forget, domains))
    with rados.Rados(conffile=conf, rados_id=user) as cluster:
        with cluster.open_ioctx(pool) as ioctx:
            names = [name for name in rbd.RBD().list(ioctx) if name.startswith(prefix)]
        # Clones before what they are cloned from.
        parents = [name for name in names if name.endswith("golden")]
        for share in ([name for name in names if name not in parents], parents):
            remove_all(cluster, pool, share)


def forget(domain: libvirt.virDomain) -> None:
    """End the guest and forget the domain."""
    with suppress(libvirt.libvirtError):
        domain.destroy()
    domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)


def remove_all(cluster: rados.Rados, pool: str, names: Sequence[str]) -> None:
    """Remove the images."""

    def run(share: Sequence[str]) -> None:
        # A context is for one thread only.
        with cluster.open_ioctx(pool) as ioctx:
            for name in share:
                remove(ioctx, name)

    with ThreadPoolExecutor(AT_A_TIME) as threads:
        list(threads.map(run, [names[at::AT_A_TIME] for at in range(AT_A_TIME)]))


def remove(ioctx: rados.Ioctx, name: str) -> None:
    """Remove an image with its snapshots, once nobody watches it."""
    with rbd.Image(ioctx, name) as image:
        for snapshot in list(image.list_snaps()):
            if image.is_protected_snap(snapshot["name"]):
                image.unprotect_snap(snapshot["name"])
            image.remove_snap(snapshot["name"])
    for left in reversed(range(TRIES)):
        try:
            rbd.RBD().remove(ioctx, name)
            return
        except rbd.ImageBusy:
            if not left:
                raise
            time.sleep(1)


main(*sys.argv[1:])
