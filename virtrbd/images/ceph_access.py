"""What qemu-img needs to reach Ceph: ceph.conf and one key, opened for it, so that it needs no rights to files."""

import base64
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from msgspec import Struct

from virtrbd.ceph.conf import read_file
from virtrbd.images.confined import other_user
from virtrbd.images.host import Host
from virtrbd.model.image import ImageRef


class CephAccess(Struct, frozen=True, kw_only=True):
    """The cephx user, and descriptors of ceph.conf and of a keyring with only its key; None without cephx."""

    user: str
    conf: int
    keyring: int | None

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The descriptors that a program which uses the names must have open."""
        return (self.conf,) if self.keyring is None else (self.conf, self.keyring)

    def name(self, ref: ImageRef) -> str:
        """Return the image as qemu-img names it. The key is in no command line."""
        options = [f"id={self.user}", f"conf=/proc/self/fd/{self.conf}"]
        if self.keyring is not None:
            # ceph.conf's own would override it, and could not be read.
            options += ["key=", "keyfile=", f"keyring=/proc/self/fd/{self.keyring}"]
        # QEMU's rbd file names end an option at `:`; a backslash keeps it.
        words = [word.replace("\\", "\\\\").replace(":", "\\:") for word in (str(ref), *options)]
        return ":".join(["rbd", *words])


@contextmanager
def ceph_access(host: Host) -> Iterator[CephAccess]:
    """Yield the access that the host has. Raises ConfigError, DeniedError."""
    with ExitStack() as stack:
        conf = stack.enter_context(_in_memory("ceph.conf", read_file(host.settings.ceph.conf)))
        keyring = _keyring(host)
        yield CephAccess(
            user=host.settings.ceph.user,
            conf=conf,
            keyring=None if keyring is None else stack.enter_context(_in_memory("keyring", keyring)),
        )


def _keyring(host: Host) -> bytes | None:
    if host.cluster.key is None:
        return None
    return f"[client.{host.settings.ceph.user}]\n\tkey = ".encode() + base64.b64encode(host.cluster.key.raw) + b"\n"


@contextmanager
def _in_memory(name: str, content: bytes) -> Iterator[int]:
    """Yield a descriptor of a file in memory, which only the confined program may open."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
    try:
        os.write(descriptor, content)
        os.fchmod(descriptor, 0o400)
        if (user := other_user()) is not None:
            os.fchown(descriptor, user, user)
        yield descriptor
    finally:
        os.close(descriptor)
