"""A batch of header reads from one thread: a thread for each read costs more than the reads."""

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from virtrbd.ceph.bindings import rados
from virtrbd.ceph.header import MOST_KEYS, Header, decode_id, decode_pairs

_LONGEST_ID = 128


def read_ids(ioctx: Any, names: Sequence[str]) -> dict[str, str]:
    """Return the ids by name of the images with a readable id; the others are absent, or must be opened."""
    found: dict[str, bytes] = {}

    def take(name: str, _completion: Any, data: bytes | None) -> None:
        found[name] = data or b""

    begun = {name: ioctx.aio_read(f"rbd_id.{name}", _LONGEST_ID, 0, partial(take, name)) for name in names}
    for completion in begun.values():
        completion.wait_for_complete_and_cb()
    there = [name for name in names if _is_there(begun[name], partial(ioctx.read, f"rbd_id.{name}"))]
    return {name: image_id for name in there if (image_id := decode_id(found[name]))}


def read_headers(ioctx: Any, image_ids: Sequence[str]) -> dict[str, Header | None]:
    """Return the headers by image id, None for an image that is gone or must be opened."""
    return {
        image_id: decode_pairs(values) if _is_there(completion, partial(ioctx.stat, f"rbd_header.{image_id}")) else None
        for image_id, completion, values in read_values(ioctx, image_ids)
    }


def read_values(ioctx: Any, image_ids: Sequence[str]) -> Iterator[tuple[str, Any, Any]]:
    """Yield of each image, by its id, the completed read of its header, and what was read: keys with their values."""
    with ExitStack() as operations:
        begun = {}
        for image_id in image_ids:
            operation = operations.enter_context(rados.ReadOpCtx())
            values, _ = ioctx.get_omap_vals(operation, "", "", MOST_KEYS)
            begun[image_id] = ioctx.operate_aio_read_op(operation, f"rbd_header.{image_id}"), values
        # All of them, before anything may raise: a buffer that is released meanwhile would still be written to.
        for completion, _ in begun.values():
            completion.wait_for_complete()
        yield from ((image_id, *found) for image_id, found in begun.items())


def _is_there(completion: Any, again: Callable[[], object]) -> bool:
    """Whether the object was read. When Ceph does not answer, doing it `again` raises that.

    Another error concerns only this image: the caller opens it, and gets the error there.
    """
    code = completion.get_return_value()
    if code in (-errno.ETIMEDOUT, -errno.EBADMSG):
        again()
    return bool(code >= 0)
