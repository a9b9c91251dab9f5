"""Names in Ceph are bytes, in Python text: bytes that are not UTF-8 become lone surrogates, as in names of files."""

import re
from collections.abc import Callable
from typing import TypeVar

from virtrbd.errors import ClusterError
from virtrbd.printable import quoted

T = TypeVar("T")

# NUL, and halves of pairs of surrogates but those that are bytes.
_IN_NO_NAME = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")


def as_text(raw: bytes) -> str:
    """Return a name or a value that anyone may have written; `as_bytes` gives the same bytes back."""
    return raw.decode("utf-8", "surrogateescape")


def as_bytes(text: str) -> bytes:
    r"""Return the name as RBD keeps it. Raises ClusterError for text that cannot be a name.

    The bindings' `rbd.Image` crashes the interpreter on a name that cannot be encoded, and reads a name only up to its
    first NUL: "web\0x" would open the image "web" (measured with 16.2).
    """
    if not is_name(text):
        raise ClusterError(
            f"{quoted(text)}: RBD refuses this name; name an image without NUL and without half characters"
        )
    return text.encode("utf-8", "surrogateescape")


def is_name(text: str) -> bool:
    """Whether the text comes from bytes without NUL: not so half a character that JSON or YAML spelled out."""
    return not _IN_NO_NAME.search(text)


def is_utf8(text: str) -> bool:
    """Whether the text came from bytes that are UTF-8."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def bindings_or_bytes(by_bindings: Callable[[], T], by_bytes: Callable[[], T]) -> T:
    """Return the bindings' result; what they cannot decode is read as bytes.

    They decode names, snapshots and metadata as UTF-8, and raise in the middle of a list.
    """
    try:
        return by_bindings()
    except UnicodeDecodeError:
        return by_bytes()
