"""An image that will be read whole: it exists, is ready, and does not change."""

from virtrbd.ceph.details import missing_snapshot
from virtrbd.ceph.images import read_image
from virtrbd.errors import ClusterError
from virtrbd.images.host import Host
from virtrbd.images.require import known_as, not_ready_error, require_image
from virtrbd.model.image import Image, ImageRef
from virtrbd.printable import shell_command


def source_of(host: Host, ref: ImageRef) -> Image:
    """Return the image to read. Raises ClusterError when it does not exist, or is not ready."""
    found = read_image(host.cluster, ref)
    if found is None:
        require_image(host, ref)
        raise missing_snapshot(host.cluster, ref)
    found = known_as(host, found)
    if found.state:
        raise not_ready_error(found)
    if found.obstacles and "journaling" in found.features and not ref.snapshot:
        # Reading takes the lock of a journaled image, because qemu-img opens it read-write (measured with QEMU 7.2).
        way_out = f"qemu-img can't read a journaled image then, {shell_command('rbd export', ref)} can"
        raise ClusterError(f"image {ref}: {found.obstacles[0].text}; {way_out}")
    if found.watchers and not ref.snapshot:
        who = ", ".join(map(str, found.watchers))
        host.say(f"image {ref} is open by {who}: it changes while it is read; make a snapshot, and name that")
    return found
