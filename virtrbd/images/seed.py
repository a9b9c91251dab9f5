"""Write the seed image that a guest's cloud-init reads."""

from virtrbd.ceph.pools import refuse_full
from virtrbd.ceph.seeds import write_seed
from virtrbd.images.create import make_empty
from virtrbd.images.host import Host
from virtrbd.images.seed_iso import seed_iso
from virtrbd.model.image_actions import WriteSeed
from virtrbd.model.seed import SEED_BYTES, SEED_LAYOUT


def make_seed(host: Host, action: WriteSeed) -> None:
    """Write a domain's seed, into a new image where there is none. Raises ClusterError, UnavailableError."""
    content = seed_iso(dict(action.documents))
    if action.is_new:
        make_empty(host, action.ref, action.domain_uuid, SEED_BYTES, SEED_LAYOUT)
    else:
        refuse_full(host.cluster, action.ref.pool)
    write_seed(host.cluster, action.ref, action.domain_uuid, content, action.digest)
