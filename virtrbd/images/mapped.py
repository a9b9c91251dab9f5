"""The images of this cluster that a guest uses: by the monitors that a document names, as a libvirt volume, or as a
mapped block device."""

from collections.abc import Callable

from msgspec import Struct

from virtrbd.ceph.cluster import Cluster
from virtrbd.ceph.images import is_taken
from virtrbd.domainxml.image_uses import images_elsewhere, sources_written, written_images
from virtrbd.domainxml.tree import Element
from virtrbd.images.block_devices import images_behind
from virtrbd.model.image import ImageRef

# Returns the Ceph pool of a libvirt storage pool, "" for another kind of pool, None for an unknown pool.
CephPoolOf = Callable[[str], str | None]


class WrittenImages(Struct, frozen=True, kw_only=True):
    """The images of this cluster that a guest writes to, and the images that may be this cluster's.

    For the latter a document names other monitors, but this cluster has an image of that name: monitors behind NAT have
    other addresses, and a document may be older than its monitors.
    """

    here: tuple[ImageRef, ...]
    doubtful: tuple[ImageRef, ...]


def images_by_cluster(tree: Element, cluster: Cluster) -> WrittenImages:
    """Return the images that a guest writes to, by whether they are in this cluster."""
    written = written_images(tree)
    elsewhere = images_elsewhere(tree, cluster.facts().addresses) if written else ()
    named = [ref for ref in written if ref in elsewhere]
    pools = cluster.pools() if named else ()
    doubtful = tuple(ref for ref in named if ref.pool in pools and is_taken(cluster, ref))
    return WrittenImages(here=tuple(ref for ref in written if ref not in elsewhere), doubtful=doubtful)


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
