"""The bindings' errors, translated into virtrbd's."""

import errno
import time
from collections.abc import Iterator
from contextlib import contextmanager

from virtrbd.ceph.bindings import rados, rbd
from virtrbd.errors import ClusterError, DeniedError, UnavailableError
from virtrbd.model.settings import Settings


@contextmanager
def translated(what: str, settings: Settings) -> Iterator[None]:
    """Translate the bindings' errors into virtrbd's, with what was being done."""
    user = f"client.{settings.ceph.user}"
    denied = f"Ceph: {what}: {user} is not allowed; check its key and caps with `ceph auth get {user}`"
    began = time.monotonic()
    try:
        yield
    except (rados.TimedOut, rbd.Timeout) as error:
        raise UnavailableError(
            f"Ceph: {what}: no answer within {settings.timeouts.ceph:g} s; check `ceph status`"
        ) from error
    except (rados.PermissionDeniedError, rados.PermissionError, rbd.PermissionError) as error:
        raise DeniedError(denied) from error
    except rados.ObjectNotFound as error:
        # Without a keyring librados says ENOENT, with an unknown user too
        raise DeniedError(f"Ceph: {what}: {error}; check that the keyring of {user} can be read") from error
    except (rados.Error, rbd.Error, OSError) as error:
        if _is_no_answer(getattr(error, "errno", 0), time.monotonic() - began, settings.timeouts.ceph):
            raise UnavailableError(f"Ceph: {what}: no answer in time; check `ceph status`") from error
        raise ClusterError(f"Ceph: {what}: {error}") from error


def _is_no_answer(code: int, took_s: float, timeout_s: float) -> bool:
    """Whether an error says that Ceph did not answer in time.

    librbd says EBADMSG when one of its ops expires, and at once for a header that it cannot decode.
    """
    return code == errno.ETIMEDOUT or (code == errno.EBADMSG and took_s > timeout_s / 2)
