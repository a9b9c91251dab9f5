"""A file imported into a new image that says `not ready` until it is done."""

import time
import uuid

from virtrbd.errors import ClusterError
from virtrbd.host.cluster import Cluster
from virtrbd.host.state import StateDir
from virtrbd.host.transfer import Progress, import_file
from virtrbd.model.image import ImageRef, Intent
from virtrbd.model.settings import Settings


def import_into(
    cluster: Cluster, state: StateDir, settings: Settings, file: str, ref: ImageRef, size_bytes: int, progress: Progress
) -> None:
    """Create the image and fill it; what a killed import of ours left is made anew.

    Raises ClusterError when the image exists, UnavailableError; a failed import removes what it made.
    """
    _remove_half(cluster, state, ref)
    intent = Intent(
        ref=ref,
        domain_uuid="",
        size_bytes=size_bytes,
        parent=None,
        nonce=uuid.uuid4().hex,
        written_at=time.time(),
        importing=True,
    )
    state.write_intent(intent)
    image_id = cluster.create(ref, size_bytes, state=f"importing {intent.nonce}")
    try:
        import_file(file, ref, settings, progress)
    except BaseException:
        cluster.remove_half(ref, image_id)
        state.drop_intent(ref)
        raise
    cluster.set_ready(ref)
    state.drop_intent(ref)


def _remove_half(cluster: Cluster, state: StateDir, ref: ImageRef) -> None:
    image, intent = cluster.image(ref), state.read_intent(ref)
    if image is None:
        return
    if intent is None or not image.state or intent.nonce not in image.state:
        fact = f"is not ready: {image.state}" if image.state else "exists"
        raise ClusterError(f"image {ref} {fact}; import under another name, or remove it")
    cluster.remove_half(ref, image.image_id)
    state.drop_intent(ref)
