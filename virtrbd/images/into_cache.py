"""How a file gets into the cache of images."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from virtrbd.local.image_cache import ImageCache

Progress = Callable[[int, int], None]


class IntoCache(Struct, frozen=True, kw_only=True):
    """The cache, how long it waits for data, and where it reports bytes: done, and of how many, 0 if unknown.

    `progress` may raise to give up.
    """

    cache: ImageCache
    stall_s: float
    progress: Progress
