"""Other clients that write to an image which a guest of this host has open."""

from virtrbd.ceph.named_images import read_images
from virtrbd.ceph.watchers import opened_twice
from virtrbd.domainxml.defined import DefinedDomain
from virtrbd.domainxml.image_uses import images_elsewhere, times_open, written_images
from virtrbd.images.host import Host
from virtrbd.model.image import Image
from virtrbd.planning.two_writers import two_writers_text


def two_writers_texts(host: Host, domain: DefinedDomain) -> tuple[str, ...]:
    """Return the messages about images of the guest that another client has open as well. Raises UnavailableError."""
    if not domain.live:
        return ()
    root = domain.live.tree
    opened = opened_twice(host.cluster, written_images(root))
    twice = {ref: watchers for ref, watchers in opened.items() if len(watchers) > times_open(root, ref)}
    # Only now: usually no image is open twice, and then the cluster of a disk does not matter.
    elsewhere = images_elsewhere(root, host.cluster.facts().addresses) if twice else ()
    images = read_images(host.cluster, [ref for ref in twice if ref not in elsewhere]).values()
    here, name = host.host_uuid, host.settings.host
    return tuple(
        two_writers_text(domain.name, image, twice[image.ref], here, name)
        for image in images
        if isinstance(image, Image)
    )
