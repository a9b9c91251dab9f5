"""The bindings' errors, turned into ours."""

from collections.abc import Iterator
from contextlib import contextmanager

from virtrbd.ceph.bindings import rados, rbd
from virtrbd.errors import ClusterError, DeniedError, UnavailableError
from virtrbd.model.settings import Settings


@contextmanager
def translated(what: str, settings: Settings) -> Iterator[None]:
    """Turn the bindings' errors into ours, with what was being done."""
    user = f"client.{settings.ceph.user}"
    denied = f"Ceph: {what}: {user} is not allowed; check its key and caps with `ceph auth get {user}`"
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
        if getattr(error, "errno", None) in (74, 110):
            raise UnavailableError(f"Ceph: {what}: no answer in time; check `ceph status`") from error
        raise ClusterError(f"Ceph: {what}: {error}") from error
