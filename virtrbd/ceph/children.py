"""Whose the clones of an image are, and whether they are whole: a flatten changes them."""

from typing import Any

from virtrbd.ceph.bindings import rados, rbd
from virtrbd.ceph.cluster import Cluster, Moved
from virtrbd.ceph.contents import metadata_of
from virtrbd.ceph.header_io import read_header
from virtrbd.ceph.metadata import mark_of, state_of
from virtrbd.ceph.opening import open_image
from virtrbd.errors import DeniedError
from virtrbd.model.image_details import Child, ImageDetails
from virtrbd.model.record import replace


def with_owners(cluster: Cluster, details: ImageDetails) -> ImageDetails:
    """Return the details with the mark and the state of each clone: one message for each clone."""
    if not details.children:
        return details

    def read(moved: Moved) -> dict[Child, Child]:
        found = {}
        for child in details.children:
            found[child] = _described(cluster, child)
            moved()
        return found

    described = cluster.call_in_steps(f"reading whose the clones of {details.image.ref} are", read)
    snapshots = (replace(each, children=tuple(described[c] for c in each.children)) for each in details.snapshots)
    return replace(details, snapshots=tuple(snapshots))


def _described(cluster: Cluster, child: Child) -> Child:
    try:
        with cluster.ioctx(child.ref) as ioctx:
            metadata = _metadata(ioctx, child)
    except (rados.PermissionError, rados.PermissionDeniedError, rbd.PermissionError, DeniedError, rbd.ImageNotFound):
        # A clone that virtrbd may not read, it may not write: flattening reports that. A removed clone keeps nothing.
        return child
    return replace(child, mark=mark_of(metadata, child.image_id), state=state_of(metadata, child.image_id))


def _metadata(ioctx: Any, child: Child) -> dict[str, str]:
    header = read_header(ioctx, child.image_id)
    if header:
        return dict(header.metadata)
    with open_image(ioctx, child.ref, image_id=child.image_id, read_only=True) as image:
        return metadata_of(ioctx, image)
