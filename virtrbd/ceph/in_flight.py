"""Many reads under way at once, from one thread: threads that wait for one read each cost more than the reads."""

import errno
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from virtrbd.ceph.bindings import rados
from virtrbd.ceph.header import MOST_KEYS, Header, decode_header

# `rbd_id.<name>` holds the image's id as an encoded string (cls_rbd.cc, get_id): its length in 4 bytes, then itself.
_LENGTH_BYTES = 4
_LONGEST_ID = 128


def read_ids(ioctx: Any, names: Sequence[str]) -> dict[str, str]:
    """Return the ids of the images that there are, by name."""
    found: dict[str, bytes] = {}

    def take(name: str, _completion: Any, data: bytes | None) -> None:
        found[name] = data or b""

    begun = {name: ioctx.aio_read(f"rbd_id.{name}", _LONGEST_ID, 0, partial(take, name)) for name in names}
    for completion in begun.values():
        completion.wait_for_complete_and_cb()
    there = [name for name in names if _is_there(begun[name], partial(ioctx.read, f"rbd_id.{name}"))]
    return {name: image_id for name in there if (image_id := found[name][_LENGTH_BYTES:].decode(errors="replace"))}


def read_headers(ioctx: Any, image_ids: Sequence[str]) -> dict[str, Header | None]:
    """Return what the headers say by image id, None for an image that is gone or must be opened."""
    with ExitStack() as operations:
        begun = {}
        for image_id in image_ids:
            operation = operations.enter_context(rados.ReadOpCtx())
            values, _ = ioctx.get_omap_vals(operation, "", "", MOST_KEYS)
            begun[image_id] = ioctx.operate_aio_read_op(operation, f"rbd_header.{image_id}"), values
        # All of them, before anything may raise: what is released while it is under way is written to all the same.
        for completion, _ in begun.values():
            completion.wait_for_complete()
        return {
            image_id: decode_header(dict(values))
            if _is_there(completion, partial(ioctx.stat, f"rbd_header.{image_id}"))
            else None
            for image_id, (completion, values) in begun.items()
        }


def _is_there(completion: Any, again: Callable[[], object]) -> bool:
    """Whether the object that was read is there. Any other failure is raised by doing it `again`, as its exception."""
    code = completion.get_return_value()
    if code >= 0:
        return True
    if code != -errno.ENOENT:
        again()
        # It went well now: whoever asked opens the image.
    return False
