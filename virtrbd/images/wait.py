"""Wait until a client that was killed no longer holds an image."""

import time
from collections.abc import Callable
from typing import TypeVar

from virtrbd.errors import ImageBusyError

T = TypeVar("T")


def once_free(use: Callable[[], T], *, wait_s: float, say: Callable[[str], None]) -> T:
    """Return what `use` returns, tried again while it raises ImageBusyError: a client that was killed watches on.

    Raises ImageBusyError when the image is still in use `wait_s` seconds after it was first found so: the time that
    the first look took is not the client's to answer for.
    """
    give_up_at = None
    while True:
        try:
            return use()
        except ImageBusyError as error:
            now = time.monotonic()
            if give_up_at is None:
                give_up_at = now + wait_s
                if wait_s:
                    say(f"{error}; waiting up to {wait_s:g} s in case it is what a crash left behind")
            if now >= give_up_at:
                raise
        time.sleep(0.5)
