"""The world, read once: one pass over libvirt, and only the images that specs name."""

from virtrbd.ceph.cluster import Cluster
from virtrbd.ceph.images import pool_config, read_image
from virtrbd.host.hypervisor import Hypervisor
from virtrbd.host.qemu_img import file_size
from virtrbd.host.state import StateDir
from virtrbd.model.actual import Actual
from virtrbd.model.domain import Domain
from virtrbd.model.seed import SeedFile
from virtrbd.planning.images import images_of_interest, pools_of_interest
from virtrbd.planning.machines import capabilities_of_interest
from virtrbd.spec.files import read_bounded


def observe(domains: tuple[Domain, ...], hypervisor: Hypervisor, cluster: Cluster, state: StateDir) -> Actual:
    """Return what libvirt and Ceph hold of these domains and their images."""
    refs = images_of_interest(domains)
    intents = {ref: intent for ref in refs if (intent := state.read_intent(ref))}
    images = {ref: read_image(cluster, ref, usage=ref in intents) for ref in refs}
    # A file that was imported already may be gone, and reading it costs a process. An intent tells of an import that
    # may have been cut off before the image said so.
    files = {
        disk.import_file
        for domain in domains
        for disk in domain.disks
        if disk.import_file
        and ((image := images[disk.image.image]) is None or image.state or disk.image.image in intents)
    }
    defined = hypervisor.domains()
    keys = capabilities_of_interest(domains, defined)
    found = {key: hypervisor.capabilities(*key) for key in keys}
    return Actual(
        host_uuid=hypervisor.host_uuid(),
        hypervisor_digest=hypervisor.digest(),
        cluster=cluster.facts(),
        secrets=hypervisor.secrets(cluster.key()),
        domains=defined,
        images=images,
        intents=intents,
        file_sizes={file: file_size(file) for file in sorted(files)},
        seed_files={file: _seed_file(file) for domain in domains if domain.seed for file in domain.seed.files},
        capabilities={key: capabilities for key, capabilities in found.items() if capabilities},
        pool_config={pool: pool_config(cluster, pool) for pool in pools_of_interest(domains)},
    )


def _seed_file(path: str) -> SeedFile:
    """Return what a document's file holds now: specs are remembered, what they point at is read in every run."""
    try:
        return SeedFile(raw=read_bounded(path))
    except (OSError, ValueError) as error:
        return SeedFile(problem=error.strerror or str(error) if isinstance(error, OSError) else str(error))
