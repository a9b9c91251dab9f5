"""The world, read once: one pass over libvirt, and only the images that specs name."""

import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from msgspec import Struct

from virtrbd.ceph.cluster import Cluster
from virtrbd.ceph.images import pool_config, read_image
from virtrbd.ceph.named_images import read_images
from virtrbd.ceph.unread import image_or_failure, or_failure
from virtrbd.ceph.watchers import opened_twice
from virtrbd.domainxml.defined import DefinedDomain, HostDomains
from virtrbd.engine.spec_files import file_sizes, files_to_import, half_way, seed_documents, seed_file
from virtrbd.errors import DocumentError, ExitCode, HypervisorError
from virtrbd.hypervisor.connection import Hypervisor
from virtrbd.hypervisor.secrets import list_secrets
from virtrbd.images.host import Host
from virtrbd.images.traces import rollbacks_begun, unknown_marks
from virtrbd.lazily import lazily
from virtrbd.local.state_dir import StateDir
from virtrbd.model.capabilities import Capabilities
from virtrbd.model.cluster import ClusterFacts, Secret
from virtrbd.model.domain import Domain
from virtrbd.model.failure import Failure
from virtrbd.model.image import Image, ImageRef, Intent, Watcher
from virtrbd.model.image_parts import ImageParts
from virtrbd.model.image_use import DomainUse
from virtrbd.model.record import replace
from virtrbd.planning.interest import images_of_interest, parents_of_interest, pools_of_interest
from virtrbd.planning.interrupted import is_half_made
from virtrbd.planning.judged import still_judged, unjudged
from virtrbd.planning.machine_type import CapabilitiesKey, capabilities_of_interest
from virtrbd.planning.policy import Policy
from virtrbd.planning.shared_images import Kept, neighbours
from virtrbd.planning.two_writers import beyond_guests, images_of_guests
from virtrbd.planning.world import World

# Usually no image was left half made.
with lazily():
    from virtrbd.ceph.parts import read_parts


def observe(
    domains: tuple[Domain, ...], host: Host, policy: Policy, judged: Mapping[str, str], ends: float = math.inf
) -> World:
    """Return what libvirt and Ceph hold of these domains and their images.

    `judged`: what earlier runs found in sync: of these domains less must be read.

    `ends`: when the run is ended (monotonic). The files that specs import get half of what is left until then.
    """
    hypervisor, cluster, state = host.hypervisor, host.cluster, host.state
    with ThreadPoolExecutor(1) as pool:
        # The two wait for different servers.
        ours = pool.submit(_read_hypervisor, hypervisor, cluster)
        theirs = _read_cluster(domains, cluster, state)
        defined = ours.result()
    held = defined.domains.read
    actual = World(
        host_uuid=defined.host_uuid,
        hypervisor_digest=defined.digest,
        cluster=theirs.facts,
        secrets=defined.secrets,
        domains=held,
        uses=_uses(hypervisor, neighbours(domains, held, defined.kept), defined.kept),
        unread_domains=defined.domains.unread,
        images=theirs.images,
        unread_images=theirs.unread,
        intents=theirs.intents,
        half_made=theirs.half_made,
        pool_config=theirs.pool_config,
        missing_pools=theirs.missing_pools,
        now=time.time(),
    )
    actual = replace(actual, open_twice=_open_twice(cluster, images_of_guests(domains, held), actual))
    others = _opened(actual, cluster)
    images, unread = {**actual.images, **_readable(others)}, {**actual.unread_images, **_unread(others)}
    actual = replace(actual, images=images, unread_images=unread)
    actual = replace(
        actual,
        rollbacks=rollbacks_begun(state, [image for image in actual.images.values() if image]),
        unknown_marks=unknown_marks(state, domains, actual.domains, _marked_here(actual)),
    )
    actual = replace(actual, judged=still_judged(domains, actual, policy, judged))
    sizes, failures = file_sizes(files_to_import(domains, actual), cluster.settings, half_way(ends))
    actual = replace(actual, file_sizes=sizes, file_failures=failures)
    return _with_details(actual, domains, hypervisor, state, policy)


def _open_twice(cluster: Cluster, refs: Sequence[ImageRef], actual: World) -> Mapping[ImageRef, tuple[Watcher, ...]]:
    """Return the images of guests that another client has open too, with the clients.

    Where no mark names another host, it may be what a crash left: that disappears within the wait of a start.
    """
    found = beyond_guests(opened_twice(cluster, refs), actual.domains)
    here = {actual.host_uuid}
    unnamed = [ref for ref in found if (image := actual.images.get(ref)) and image.host_labels.keys() <= here]
    lasting = opened_twice(cluster, unnamed, cluster.settings.timeouts.watcher)
    return {ref: watchers for ref, watchers in {**found, **lasting}.items() if ref in lasting or ref not in unnamed}


def _marked_here(actual: World) -> list[Image]:
    return [image for image in actual.images.values() if image and image.mark and image.mark.host == actual.host_uuid]


def _opened(actual: World, cluster: Cluster) -> Mapping[ImageRef, Image | Failure | None]:
    """Return the images of other hosts again, with their watchers, which a header does not show."""
    others = [ref for ref, image in actual.images.items() if image and image.is_of_other_host(actual.host_uuid)]
    return {ref: _read(cluster, ref) for ref in others}


def _read(cluster: Cluster, ref: ImageRef, *, usage: bool = False) -> Image | Failure | None:
    return image_or_failure(cluster, ref, lambda: read_image(cluster, ref, usage=usage))


class _Defined(Struct, frozen=True, kw_only=True):
    host_uuid: str
    digest: str
    secrets: tuple[Secret, ...]
    domains: HostDomains
    kept: Kept


class _Stored(Struct, frozen=True, kw_only=True):
    facts: ClusterFacts
    intents: Mapping[ImageRef, Intent]
    half_made: Mapping[ImageRef, str]
    images: Mapping[ImageRef, Image | None]
    unread: Mapping[ImageRef, Failure]
    pool_config: Mapping[str, Mapping[str, str]]
    missing_pools: frozenset[str]


def _read_hypervisor(hypervisor: Hypervisor, cluster: Cluster) -> _Defined:
    return _Defined(
        host_uuid=hypervisor.host_uuid(),
        digest=hypervisor.digest(),
        secrets=list_secrets(hypervisor, cluster.key) if cluster.key else (),
        domains=hypervisor.domains(),
        kept=hypervisor.kept_documents(),
    )


def _uses(hypervisor: Hypervisor, found: Sequence[DefinedDomain], kept: Kept) -> tuple[DomainUse, ...]:
    if not found:
        return ()
    # Here, not above: usually nothing is parsed.
    from virtrbd.images.users import use_of

    return tuple(use_of(domain, kept.get(domain.uuid, ()), hypervisor.ceph_pool_of) for domain in found)


def _read_cluster(domains: tuple[Domain, ...], cluster: Cluster, state: StateDir) -> _Stored:
    pools = cluster.pools()
    named = images_of_interest(domains)
    refs = [ref for ref in named if ref.pool in pools]
    intents = state.read_intents(refs)
    found: dict[ImageRef, Image | Failure | None] = dict.fromkeys(named)
    found |= read_images(cluster, [ref for ref in refs if ref not in intents])
    # An image with an intent may be half-made: only opening it shows how much of it was written.
    found |= {ref: _read(cluster, ref, usage=True) for ref in intents}
    # Another run may have begun to make an image, or finished it, since the intents were read.
    late = [ref for ref in _refused(found) if ref not in intents]
    intents |= state.read_intents(late)
    found |= {ref: _read(cluster, ref, usage=True) for ref in late}
    half_made = _half_made(cluster, intents, found)
    found |= dict.fromkeys(half_made)
    parents = parents_of_interest(domains, _readable(found), intents)
    found |= read_images(cluster, [ref for ref in parents if ref.pool in pools])
    return _Stored(
        facts=cluster.facts(),
        intents=intents,
        half_made=half_made,
        images=_readable(found),
        unread=_unread(found),
        pool_config=_pool_configs(cluster, [pool for pool in pools_of_interest(domains) if pool in pools]),
        missing_pools=frozenset(pools_of_interest(domains)) - pools,
    )


def _half_made(
    cluster: Cluster, intents: Mapping[ImageRef, Intent], found: Mapping[ImageRef, Image | Failure | None]
) -> Mapping[ImageRef, str]:
    """Return the ids of images that cannot be opened because a run of this host was interrupted in their making."""
    unopened = [ref for ref in intents if isinstance(found[ref], Failure)]
    read = {ref: or_failure(f"image {ref}", partial(read_parts, cluster, ref)) for ref in unopened}
    return {
        ref: parts.image_id
        for ref, parts in read.items()
        if isinstance(parts, ImageParts) and is_half_made(parts, intents[ref])
    }


def _readable(found: Mapping[ImageRef, Image | Failure | None]) -> Mapping[ImageRef, Image | None]:
    """Return the images; an image that cannot be read is None, and no plan uses it (`World.unread_images`)."""
    return {ref: None if isinstance(image, Failure) else image for ref, image in found.items()}


def _refused(found: Mapping[ImageRef, Image | Failure | None]) -> list[ImageRef]:
    """Return the images that cannot be read, except those for which a read has waited in vain."""
    return [ref for ref, why in _unread(found).items() if why.exit_code is ExitCode.FAILED]


def _unread(found: Mapping[ImageRef, Image | Failure | None]) -> Mapping[ImageRef, Failure]:
    return {ref: image for ref, image in found.items() if isinstance(image, Failure)}


def _pool_configs(cluster: Cluster, pools: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
    """Return each pool's own options; the images report problems of a pool."""
    found = {pool: or_failure(f"pool {pool}", partial(pool_config, cluster, pool)) for pool in pools}
    return {pool: config for pool, config in found.items() if not isinstance(config, Failure)}


def _with_details(
    actual: World, domains: tuple[Domain, ...], hypervisor: Hypervisor, state: StateDir, policy: Policy
) -> World:
    """Return the world completed for domains whose documents must be compared."""
    open_ones = unjudged(domains, actual, policy)
    keys = capabilities_of_interest(open_ones, actual.domains)
    capabilities = {key: found for key in keys if (found := _capabilities(hypervisor, key))}
    names = {domain.name for domain in open_ones}
    held = {domain.uuid for domain in open_ones} | {found.uuid for found in actual.domains if found.name in names}
    return replace(
        actual,
        capabilities=capabilities,
        last_definitions={uuid: last for uuid in sorted(held) if (last := state.read_definition(uuid))},
        seed_files={document.file: seed_file(document) for document in seed_documents(domains)},
    )


def _capabilities(hypervisor: Hypervisor, key: CapabilitiesKey) -> Capabilities | None:
    """Return what the hypervisor offers to a machine, None where it does not know it: only its domains fail."""
    try:
        return hypervisor.capabilities(*key)
    except (HypervisorError, DocumentError):
        return None
