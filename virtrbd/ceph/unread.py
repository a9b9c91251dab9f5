"""Failures to read an image are kept as that image's failure: the others are read."""

from collections.abc import Callable
from typing import TypeVar

from virtrbd.ceph.bindings import rados
from virtrbd.ceph.cluster import Cluster
from virtrbd.ceph.header_io import read_id
from virtrbd.contained import contained
from virtrbd.errors import ClusterError, UnavailableError, VirtrbdError
from virtrbd.model.failure import Failure, failure_of
from virtrbd.model.image import ImageRef
from virtrbd.printable import shell_command

T = TypeVar("T")


def or_failure(what: str, read: Callable[[], T]) -> T | Failure:
    """Return what `read` returns, or why it failed. Raises UnavailableError, which concerns all images."""
    try:
        with contained(what):
            return read()
    except UnavailableError:
        raise
    except VirtrbdError as error:
        return failure_of(error)


def image_or_failure(cluster: Cluster, ref: ImageRef, read: Callable[[], T], image_id: str = "") -> T | Failure:
    """Return what `read` returns of one image, or why it failed. `image_id`: for an image in the trash.

    A header can make librbd wait or count for ever. So where `read` ran out of time and the cluster answers for the
    objects of that image, it is the image's failure. Raises UnavailableError when the cluster does not answer either.
    """
    try:
        return or_failure(f"image {ref} cannot be read", read)
    except UnavailableError as error:
        try:
            header = _header_that_answers(cluster, ref, image_id)
        except VirtrbdError:
            raise error from None
        return failure_of(silent_image(cluster, ref, header))


def _header_that_answers(cluster: Cluster, ref: ImageRef, image_id: str) -> str:
    """Return the name of the image's header object, once Ceph has answered for it; "" for an image without an id.

    Not the monitors are asked: they answer while the image's own objects have no OSD. Raises UnavailableError.
    """

    def ask() -> str:
        with cluster.ioctx(ref) as ioctx:
            try:
                header = f"rbd_header.{image_id or read_id(ioctx, ref)}"
                ioctx.stat(header)
            except (ClusterError, rados.ObjectNotFound):
                return ""
            return header

    # The read has had its whole time already, and a healthy cluster answers this in milliseconds.
    return cluster.call(f"looking for image {ref}", ask, extra_s=-cluster.settings.timeouts.ceph / 2)


def silent_image(cluster: Cluster, ref: ImageRef, header: str) -> UnavailableError:
    """Return the error for an image that does not answer; `header`: the name of its header object, where known."""
    look = shell_command("rbd info", ref.image)
    if header:
        # `rbd info` would wait too.
        words = [shell_command("rados --pool", ref.pool), shell_command("listomapvals", header)]
        words[1:1] = [shell_command("--namespace", ref.namespace)] if ref.namespace else []
        look = " ".join(words)
    return UnavailableError(
        f"image {ref} did not answer within {cluster.settings.timeouts.ceph:g} s while the cluster does; look at its "
        f"header with `{look}`"
    )
