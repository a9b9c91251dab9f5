"""A file imported into a new image that says `not ready` until it is done."""

import time
import uuid
from collections.abc import Callable
from contextlib import suppress

from virtrbd.errors import ClusterError, VirtrbdError
from virtrbd.host.cluster import Cluster
from virtrbd.host.gate import once_free
from virtrbd.host.state import StateDir
from virtrbd.host.transfer import Progress, import_file
from virtrbd.model.image import ImageRef, Intent
from virtrbd.model.settings import Settings
from virtrbd.planning.images import is_half


def import_into(
    cluster: Cluster,
    state: StateDir,
    settings: Settings,
    file: str,
    ref: ImageRef,
    size_bytes: int,
    progress: Progress,
    say: Callable[[str], None],
) -> None:
    """Create the image and fill it; what a killed import of ours left is made anew.

    Raises ClusterError when the image exists, UnavailableError; a failed import removes what it made.
    """
    _remove_half(cluster, state, ref, settings.timeouts.watcher, say)
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
        # What can't be removed now stays marked as not ready, and the intent lets the next run remove it.
        with suppress(VirtrbdError):
            cluster.remove_half(ref, image_id)
            state.drop_intent(ref)
        raise
    cluster.set_ready(ref)
    state.drop_intent(ref)


def _remove_half(cluster: Cluster, state: StateDir, ref: ImageRef, wait_s: float, say: Callable[[str], None]) -> None:
    image, intent = cluster.image(ref, usage=True), state.read_intent(ref)
    if image is None:
        return
    if not is_half(image, intent, domain_uuid=""):
        fact = f"is not ready: {image.state}" if image.state else "exists"
        raise ClusterError(f"image {ref} {fact}; import under another name, or remove it")
    once_free(lambda: cluster.remove_half(ref, image.image_id), wait_s=wait_s, say=say)
    state.drop_intent(ref)
