"""A file imported into a new image that says `not ready` until it is done."""

from virtrbd.errors import ClusterError
from virtrbd.host.cluster import Cluster
from virtrbd.host.transfer import Progress, import_file
from virtrbd.model.image import ImageRef
from virtrbd.model.settings import Settings


def import_into(
    cluster: Cluster, settings: Settings, file: str, ref: ImageRef, size_bytes: int, state: str, progress: Progress
) -> None:
    """Create the image and fill it. Raises ClusterError when it exists; a failed one is removed again."""
    if cluster.image(ref):
        raise ClusterError(f"image {ref} exists; import under another name, or remove it")
    image_id = cluster.create(ref, size_bytes, state=state)
    try:
        import_file(file, ref, settings, progress)
    except BaseException:
        cluster.remove_half(ref, image_id)
        raise
    cluster.set_ready(ref)
