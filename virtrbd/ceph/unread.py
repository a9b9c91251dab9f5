"""What cannot be read of one image is kept as that image's failure: the others are read."""

from collections.abc import Callable
from typing import TypeVar

from virtrbd.contained import contained
from virtrbd.errors import UnavailableError, VirtrbdError
from virtrbd.model.failure import Failure, failure_of

T = TypeVar("T")


def or_failure(what: str, read: Callable[[], T]) -> T | Failure:
    """Return what `read` returns, or why it failed. Raises UnavailableError: that Ceph does not answer is about all."""
    try:
        with contained(what):
            return read()
    except UnavailableError:
        raise
    except VirtrbdError as error:
        return failure_of(error)
