"""Require that an image exists and is ready."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

from virtrbd.ceph.cluster import Cluster
from virtrbd.ceph.images import read_image
from virtrbd.ceph.trash import missing_image_error
from virtrbd.errors import ClusterError, DeniedError
from virtrbd.images.host import Host
from virtrbd.local.state_dir import StateDir
from virtrbd.model.image import Image, ImageRef, Intent
from virtrbd.model.image_state import HalfMade
from virtrbd.model.record import replace
from virtrbd.planning import unready
from virtrbd.planning.interrupted import as_it_is


def require_image(host: Host, ref: ImageRef) -> Image:
    """Return the image, which may not be ready. Raises ClusterError when there is none."""
    image = read_image(host.cluster, ref.image)
    if image is None:
        raise missing_image_error(host.cluster, ref)
    return known_as(host, image)


def known_as(host: Host, image: Image) -> Image:
    """Return an image as this host knows it: half-made where an intent shows that."""
    is_half = image.ref.image in half_made(host.cluster, host.state, [image.ref.image] if not image.state else [])
    return replace(image, state=HalfMade()) if is_half else image


def half_made(cluster: Cluster, state: StateDir, refs: Sequence[ImageRef]) -> frozenset[ImageRef]:
    """Return the images without a state mark that are half-made according to the intents of this host.

    A user who may not read the state directory changes nothing either.
    """
    intents: Mapping[ImageRef, Intent] = {}
    with suppress(DeniedError):
        intents = state.read_intents(refs)
    # Only opening it shows how much of it was written.
    found = {ref: read_image(cluster, ref, usage=True) for ref in intents}
    return frozenset(ref for ref, image in found.items() if image and as_it_is(image, intents[ref]).state)


def not_ready_error(image: Image) -> ClusterError:
    """Return the error for an image that is not ready."""
    return ClusterError(unready.not_ready_message(image))
