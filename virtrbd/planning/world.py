"""The world as it was observed, once, for the domains and images of a run."""

from collections.abc import Mapping

from msgspec import Struct, field

from virtrbd.domainxml.defined import DefinedDomain, UnreadDomain
from virtrbd.model.capabilities import Capabilities
from virtrbd.model.cluster import ClusterFacts, Secret
from virtrbd.model.failure import Failure
from virtrbd.model.image import Image, ImageRef, Intent, Watcher
from virtrbd.model.image_use import DomainUse
from virtrbd.model.import_file import ImportFile
from virtrbd.model.last_definition import LastDefinition
from virtrbd.model.seed import SeedFile


class World(Struct, frozen=True, kw_only=True):
    """The world; an image that was looked for and does not exist is None.

    What exists and cannot be read is not absent: `unread_domains` and `unread_images` say why.

    `half_made`: the ids of images without a header that an interrupted run of this host, whose intent is left, began
    to make; they are None among the images.

    `rollbacks` are the snapshots, by image, that this host began to roll back to; `unknown_marks` the images with
    a mark of this host of which this host has no record. `uses`: the uses by domains that may concern
    images of other domains' specs; `open_twice`: the clients of images that a guest of this host and
    another client have open.

    `capabilities` are by hypervisor type and machine, where libvirt knows those; `pool_config` holds each pool's own
    librbd options. By UUID: `last_definitions` of domains whose documents are to be looked at, and `judged`, the
    digest of the documents of all others: an earlier run found these in sync. `now` is in seconds since 1970.
    """

    host_uuid: str
    hypervisor_digest: str
    cluster: ClusterFacts
    secrets: tuple[Secret, ...] = ()
    domains: tuple[DefinedDomain, ...] = ()
    uses: tuple[DomainUse, ...] = ()
    open_twice: Mapping[ImageRef, tuple[Watcher, ...]] = field(default_factory=dict)
    images: Mapping[ImageRef, Image | None] = field(default_factory=dict)
    unread_domains: tuple[UnreadDomain, ...] = ()
    unread_images: Mapping[ImageRef, Failure] = field(default_factory=dict)
    intents: Mapping[ImageRef, Intent] = field(default_factory=dict)
    half_made: Mapping[ImageRef, str] = field(default_factory=dict)
    rollbacks: Mapping[ImageRef, str] = field(default_factory=dict)
    unknown_marks: frozenset[ImageRef] = frozenset()
    missing_pools: frozenset[str] = frozenset()
    file_sizes: Mapping[ImportFile, int] = field(default_factory=dict)
    file_failures: Mapping[ImportFile, Failure] = field(default_factory=dict)
    seed_files: Mapping[str, SeedFile] = field(default_factory=dict)
    capabilities: Mapping[tuple[str, str], Capabilities] = field(default_factory=dict)
    pool_config: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    last_definitions: Mapping[str, LastDefinition] = field(default_factory=dict)
    judged: Mapping[str, str] = field(default_factory=dict)
    now: float = 0.0
