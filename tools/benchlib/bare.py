"""The calls of a no-change `virtrbd define`, bare: what libvirt and Ceph themselves cost, without virtrbd.

Usage: bare.py URI CEPH_CONF USER POOL IMAGE. Prints nothing.
"""

from __future__ import annotations

import sys
from contextlib import suppress

import libvirt
import rados
import rbd

TIMEOUTS = dict.fromkeys(("client_mount_timeout", "rados_mon_op_timeout", "rados_osd_op_timeout"), "10")


def main(uri: str, conf: str, user: str, pool: str, name: str) -> None:
    """Make every call once."""
    connection = libvirt.open(uri)
    cluster = rados.Rados(conffile=conf, rados_id=user, conf=TIMEOUTS)
    cluster.connect()
    read_image(cluster, pool, name)
    cluster.mon_command('{"prefix": "mon dump", "format": "json"}', b"")
    cluster.get_fsid()
    read_host(connection)
    cluster.shutdown()
    connection.close()


def read_image(cluster: rados.Rados, pool: str, name: str) -> None:
    """Ask of one image what virtrbd asks."""
    with cluster.open_ioctx(pool) as ioctx, rbd.Image(ioctx, name, read_only=True) as image:
        image.id()
        image.size()
        image.create_timestamp()
        image.stat()
        image.features()
        list(image.metadata_list())
        list(image.watchers_list())
        list(image.list_snaps())
        with suppress(rbd.ImageNotFound):
            image.get_parent_image_spec()


def read_host(connection: libvirt.virConnect) -> None:
    """Ask of libvirt what virtrbd asks."""
    connection.getCapabilities()
    connection.getLibVersion()
    connection.getVersion()
    for secret in connection.listAllSecrets():
        secret.usageType()
        secret.XMLDesc()
        with suppress(libvirt.libvirtError):  # a private one does not tell
            secret.value()
    for domain in connection.listAllDomains():
        domain.name()
        domain.UUIDString()
        domain.isPersistent()
        domain.state()
        domain.hasManagedSaveImage()
        domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        domain.autostart()
        if domain.isActive():
            domain.XMLDesc()


libvirt.registerErrorHandler(lambda *_: None, None)
main(*sys.argv[1:])
