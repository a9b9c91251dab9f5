"""The settings of a host: where libvirt and Ceph are, and what specs need not state."""

from enum import StrEnum

from msgspec import Struct, field


class Timeouts(Struct, frozen=True, kw_only=True):
    """Deadlines in seconds. `watcher`: how long a start waits for a crashed client to disappear;
    a killed client's watch lasts about 30 s. `shutdown`: for a guest to shut down; `reconcile`: for a whole run;
    `hook`: how long libvirt's hook may keep a start waiting."""

    ceph: float = 10.0
    libvirt: float = 30.0
    transfer: float = 60.0
    watcher: float = 40.0
    shutdown: float = 60.0
    reconcile: float = 300.0
    hook: float = 60.0


class CephSettings(Struct, frozen=True, kw_only=True):
    """How Ceph is reached. An empty `keyring` means ceph.conf's.

    `clone_depth`: virtrbd advises a flatten of longer chains of clones; each read of a clone may go through all of it.
    """

    conf: str = "/etc/ceph/ceph.conf"
    user: str = "virtrbd"
    keyring: str = ""
    pool: str = "vms"
    clone_depth: int = 8


class ImportSettings(Struct, frozen=True, kw_only=True):
    """What is fetched and unpacked for an import: where it is kept, how much of it, and how large one file may be.

    An empty `cache_dir` means: beside the cache of specs.
    """

    cache_dir: str = ""
    cache_size: int = 20 * 1024**3
    largest: int = 256 * 1024**3


class Unreachable(StrEnum):
    """What libvirt's hook does with a start while Ceph does not answer."""

    REFUSE = "refuse"
    ALLOW = "allow"


class HookSettings(Struct, frozen=True, kw_only=True):
    """libvirt's hook: the folder where libvirt looks for it, and what it does while Ceph does not answer."""

    folder: str = "/etc/libvirt/hooks/qemu.d"
    ceph_unreachable: Unreachable = Unreachable.REFUSE


class Settings(Struct, frozen=True, kw_only=True):
    """The settings of one host; `host` is its name in specs, `raw` the bytes of `file`, `digest` theirs.

    Defaults and profiles of specs are in the same file; the reader of specs parses them from there. `spec_dir` holds
    all specs; `parallel` domains are worked on at a time; `textfile` is for node_exporter, empty for none.
    Files that specs name may lie in `allowed_dirs` too; `ceph_configs`: the allowed values of a disk's ceph_config.
    `trust_specs`: specs may say `xml:`, `template:`, `ceph_config:`, `hostdevs:` and `filesystems:`. `keep_environment`
    are variables that root's runs keep.
    """

    host: str
    connect: str = "qemu:///system"
    state_dir: str = "/var/lib/virtrbd"
    ceph: CephSettings = field(default_factory=CephSettings)
    timeouts: Timeouts = field(default_factory=Timeouts)
    imports: ImportSettings = field(default_factory=ImportSettings)
    hook: HookSettings = field(default_factory=HookSettings)
    template_dir: str = ""
    spec_dir: str = "/etc/virtrbd/domains"
    parallel: int = 4
    textfile: str = ""
    allowed_dirs: tuple[str, ...] = ()
    ceph_configs: tuple[str, ...] = ()
    trust_specs: bool = True
    keep_environment: tuple[str, ...] = ()
    file: str = ""
    raw: bytes = b""
    digest: str = ""
