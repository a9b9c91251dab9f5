"""Waiting for what a client that was killed still holds."""

import time
from collections.abc import Callable
from typing import TypeVar

from virtrbd.errors import ImageBusyError

T = TypeVar("T")


def once_free(use: Callable[[], T], *, wait_s: float, say: Callable[[str], None]) -> T:
    """Return what `use` returns, tried again while it raises ImageBusyError: a client that was killed watches on.

    Raises ImageBusyError when the image is still in use after `wait_s` seconds.
    """
    give_up_at = time.monotonic() + wait_s
    told = False
    while True:
        try:
            return use()
        except ImageBusyError as error:
            if time.monotonic() >= give_up_at:
                raise
            if not told:
                say(f"{error}; waiting up to {wait_s:g} s in case it is what a crash left behind")
                told = True
        time.sleep(0.5)
