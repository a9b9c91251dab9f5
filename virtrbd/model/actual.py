"""The world as it was observed, once, for the domains and images that a run is about."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from virtrbd.model.capabilities import Capabilities
from virtrbd.model.domain import DefinedDomain, UnreadDomain
from virtrbd.model.failure import Failure
from virtrbd.model.image import Image, ImageRef, Intent, Watcher
from virtrbd.model.image_use import DomainUse
from virtrbd.model.import_file import ImportFile
from virtrbd.model.seed import SeedFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitor:
    """A monitor's address; `port` None lets librados try v2 (3300) and v1 (6789)."""

    address: str
    port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFacts:
    """What a domain's XML must know of the cluster. Without `cephx` nobody says who he is: no user, no secret.

    A monitor is rendered with one address; `map_addresses` are all that it has.
    """

    fsid: str
    monitors: tuple[Monitor, ...]
    user: str
    cephx: bool = True
    map_addresses: tuple[str, ...] = ()

    @property
    def addresses(self) -> frozenset[str]:
        """The addresses and names by which a document may name the monitors, as the cluster spells them."""
        return frozenset(monitor.address for monitor in self.monitors).union(self.map_addresses)

    @property
    def secret_usage(self) -> str:
        """The secret's usage name: unique in libvirt, and the same on all hosts."""
        return f"client.{self.user}@{self.fsid}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A libvirt secret of usage type ceph. `is_set`: it has a value, as far as can be told."""

    uuid: str
    usage: str
    is_set: bool
    holds_key: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LastDefinition:
    """A definition as libvirt gave it back when virtrbd last looked, and the hypervisor's digest at that time."""

    xml: str
    hypervisor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Actual:
    """The world; images that were looked for and are not there are None.

    What is there and cannot be read is not absent: `unread_domains` and `unread_images` say why.

    `half_made` are the ids of images that a run of ours, whose intent is left, was cut off to make before they had a
    header; they are None among the images.

    `rollbacks` are the snapshots, by image, that this host began to roll back to; `unknown_marks` the images that bear
    a mark of this host, and that nothing here says were made by it. `uses` holds what domains use that may have to do
    with images of other domains' specs; `open_twice` the clients of images that a guest of this host has open, and
    another client too.

    `capabilities` are by hypervisor type and machine, where libvirt knows those; `pool_config` holds each pool's own
    librbd options. By UUID: `last_definitions` of domains whose documents are to be looked at, and `judged`, the
    digest of the documents of all others: an earlier run found these in order. `now` is in seconds since 1970.
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
