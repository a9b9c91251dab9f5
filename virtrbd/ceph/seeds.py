"""Write cloud-init seeds into images."""

from typing import Any

from virtrbd.ceph.cluster import Cluster
from virtrbd.ceph.contents import metadata_of
from virtrbd.ceph.metadata import SEED, mark_of, remove_metadata, seed_value
from virtrbd.errors import ClusterError
from virtrbd.model.image import ImageRef


def write_seed(cluster: Cluster, ref: ImageRef, domain_uuid: str, content: bytes, digest: str) -> None:
    """Write the whole first object, and then its digest. Raises ClusterError when the image is not the domain's."""

    def begin(ioctx: Any, image: Any) -> None:
        mark = mark_of(metadata_of(ioctx, image), image.id())
        if mark is None or mark.domain_uuid != domain_uuid:
            raise ClusterError(f"image {ref} was replaced meanwhile; run again")
        # First: a run that is interrupted after the write leaves a seed without a digest, so the old digest does not
        # match even when the old seed is wanted back.
        remove_metadata(ioctx, image, SEED)

    def write(_ioctx: Any, image: Any) -> None:
        # One call, one object: librbd makes one operation, which RADOS does whole or not at all.
        image.write(content, 0)
        image.flush()

    def vouch(_ioctx: Any, image: Any) -> None:
        image.metadata_set(SEED, seed_value(digest, image.id()))

    # Each within its own deadline: where a killed client still watches, every change of metadata waits
    # 5 s for its answer.
    for step in (begin, write, vouch):
        cluster.with_image(f"writing cloud-init seed {ref}", ref, step)
