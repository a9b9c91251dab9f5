"""The images that a guest uses as a libvirt volume or a mapped block device: only libvirt and the kernel know them."""

from msgspec import Struct

from virtrbd.ceph.cluster import Cluster
from virtrbd.ceph.images import is_taken
from virtrbd.domainxml.image_uses import sources_written
from virtrbd.domainxml.tree import Element
from virtrbd.images.block_devices import images_behind
from virtrbd.images.users import CephPoolOf
from virtrbd.model.image import ImageRef


class SourceImages(Struct, frozen=True, kw_only=True):
    """The images that QEMU opens read-write as volumes of libvirt, and those that this host has mapped for it."""

    volumes: tuple[ImageRef, ...] = ()
    mapped: tuple[ImageRef, ...] = ()


def images_of_sources(tree: Element, cluster: Cluster, ceph_pool_of: CephPoolOf, device: str = "") -> SourceImages:
    """Return this cluster's images of a guest's volumes and mapped devices.

    For the whole definition, or one device, by its step. A missing image is another cluster's.
    """
    written = sources_written(tree, device)
    found = [(volume.volume, ceph_pool_of(volume.pool)) for volume in written.volumes]
    of_volumes = [ImageRef(pool=pool, name=name) for name, pool in found if pool]
    mapped = [ref for path in written.devices for ref in images_behind(path) or () if not ref.snapshot]
    pools = cluster.pools() if of_volumes or mapped else frozenset()
    here = {ref for ref in (*of_volumes, *mapped) if ref.pool in pools and is_taken(cluster, ref)}
    return SourceImages(
        volumes=tuple(ref for ref in of_volumes if ref in here), mapped=tuple(ref for ref in mapped if ref in here)
    )
