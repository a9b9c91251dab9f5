"""The floor of a no-change reconcile: list the domains, read each one's XML, read the size in each image's header.

Usage: floor.py URI CEPH_CONF USER POOL. One call after the other, as a plain script does it; images by one list of the
pool, their sizes from the headers. Nothing is compared, and no call has a deadline beyond librados' own. Prints how
many there were.
"""

from __future__ import annotations

import struct
import sys

import libvirt
import rados
import rbd

TIMEOUTS = dict.fromkeys(("client_mount_timeout", "rados_mon_op_timeout", "rados_osd_op_timeout"), "10")


def main(uri: str, conf: str, user: str, pool: str) -> None:
    """Read everything once."""
    connection = libvirt.open(uri)
    documents = [domain.XMLDesc() for domain in connection.listAllDomains()]
    with rados.Rados(conffile=conf, rados_id=user, conf=TIMEOUTS) as cluster, cluster.open_ioctx(pool) as ioctx:
        sizes = [read_size(ioctx, image["id"]) for image in rbd.RBD().list2(ioctx)]
    connection.close()
    print(len(documents), len(sizes))


def read_size(ioctx: rados.Ioctx, image_id: str) -> int:
    """Return the size that the image's header states."""
    with rados.ReadOpCtx() as operation:
        values, _ = ioctx.get_omap_vals_by_keys(operation, ("size",))
        ioctx.operate_read_op(operation, f"rbd_header.{image_id}")
        size: int = struct.unpack("<Q", dict(values)["size"])[0]
        return size


main(*sys.argv[1:])
