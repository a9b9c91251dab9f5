"""Waiting for what the lab does in its own time."""

import time
from collections.abc import Callable

import rados
import rbd


def eventually(what: str, holds: Callable[[], object], within_s: float = 20) -> None:
    """Wait until it holds; fail when it does not within so many seconds."""
    give_up_at = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < give_up_at, f"not within {within_s} s: {what}"
        time.sleep(0.02)


def remove_image(ioctx: rados.Ioctx, image: str) -> None:
    """Remove an image once nobody watches it: a client that was killed watches on for some seconds."""

    def is_removed() -> bool:
        try:
            rbd.RBD().remove(ioctx, image)
        except rbd.ImageBusy:
            return False
        return True

    eventually(f"{image} can be removed", is_removed)
