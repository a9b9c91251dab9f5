"""Images that must be there and whole."""

from virtrbd.ceph.images import read_image
from virtrbd.ceph.trash import missing
from virtrbd.errors import ClusterError
from virtrbd.host.image_host import ImageHost
from virtrbd.model.image import Image, ImageRef
from virtrbd.planning import unready


def require_image(host: ImageHost, ref: ImageRef) -> Image:
    """Return the image. Raises ClusterError when there is none."""
    image = read_image(host.cluster, ref.image)
    if image is None:
        raise missing(host.cluster, ref)
    return image


def not_ready(image: Image) -> ClusterError:
    """Return the error that says what an image is in the middle of."""
    return ClusterError(unready.not_ready(image))
