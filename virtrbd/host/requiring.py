"""Images that must be there and whole."""

from dataclasses import replace

from virtrbd.ceph.images import read_image
from virtrbd.ceph.trash import missing
from virtrbd.errors import ClusterError
from virtrbd.host.image_host import ImageHost
from virtrbd.model.image import Image, ImageRef
from virtrbd.planning import unready
from virtrbd.planning.leftovers import as_it_is


def require_image(host: ImageHost, ref: ImageRef) -> Image:
    """Return the image, which may be in the middle of something. Raises ClusterError when there is none."""
    image = read_image(host.cluster, ref.image)
    if image is None:
        raise missing(host.cluster, ref)
    return known_as(host, image)


def known_as(host: ImageHost, image: Image) -> Image:
    """Return an image as this host knows it: what an intent tells to be half-made is in no state to be used."""
    intent = host.state.read_intent(image.ref.image)
    if intent is None or image.state:
        return image
    # Only opening it shows how much of it was written.
    whole = read_image(host.cluster, image.ref.image, usage=True)
    return replace(image, state=as_it_is(whole, intent).state) if whole else image


def not_ready(image: Image) -> ClusterError:
    """Return the error that says what an image is in the middle of."""
    return ClusterError(unready.not_ready(image))
