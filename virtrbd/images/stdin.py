"""Standard input as the source of an image."""

import os
import select
import sys
from collections.abc import Callable
from functools import partial

from virtrbd.ceph.images import read_image
from virtrbd.ceph.pools import refuse_full
from virtrbd.ceph.streaming import digest_of_image, write_stream
from virtrbd.errors import ClusterError, UnavailableError, VirtrbdError
from virtrbd.images.host import Host
from virtrbd.model.image import ImageRef
from virtrbd.qemu.formats.stream import RawStream


def import_stdin(host: Host, ref: ImageRef, data_pool: str, *, is_surely_raw: bool, check: bool) -> None:
    """Write raw data from standard input into the image, which grows with it.

    Data that looks like another format is refused unless the user stated raw. With `check` the image is read again.
    Raises ClusterError, UnavailableError, VirtrbdError.
    """
    read: Callable[[int], bytes] = partial(_read, sys.stdin.fileno(), host.settings.timeouts.transfer)
    if not is_surely_raw:
        read = RawStream(name="standard input", read_some=read).read
    try:
        written, digest = write_stream(host.cluster, ref, read, lambda done: host.progress(done, 0))
    except UnavailableError:
        # A full pool does not answer either.
        refuse_full(host.cluster, ref.pool, data_pool)
        raise
    if not written:
        raise ClusterError("standard input: no data; is the command before the pipe right?")
    if check and digest_of_image(host.cluster, ref, written, lambda done: host.progress(done, written)) != digest:
        raise ClusterError(f"verifying {ref}: it does not hold what was read; run it again")
    host.say(f"read {written} bytes, SHA-256 {digest}")


def imported_size(host: Host, ref: ImageRef) -> int:
    """Return the size that the image has now."""
    image = read_image(host.cluster, ref)
    return image.size_bytes if image else 0


def _read(descriptor: int, stall_s: float, count: int) -> bytes:
    """Return so many bytes, fewer only at the end. Raises VirtrbdError, also when none come for too long."""
    parts, missing = [], count
    while missing:
        ready, _, _ = select.select([descriptor], [], [], stall_s)
        if not ready:
            raise UnavailableError(f"standard input: no data for {stall_s:g} s")
        try:
            part = os.read(descriptor, min(missing, 1024**2))
        except OSError as error:
            raise VirtrbdError(f"standard input: {error.strerror}; is it open for reading?") from error
        if not part:
            break
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
