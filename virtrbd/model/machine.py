"""A domain's machine: its CPUs and their memory, its firmware."""

from collections.abc import Mapping

from msgspec import Struct, field


class Topology(Struct, frozen=True, kw_only=True):
    sockets: int = 1
    cores: int = 1
    threads: int = 1


class NumaCell(Struct, frozen=True, kw_only=True):
    """A NUMA node of the guest: its vcpus as a set, and its memory; `mem_access` is libvirt's."""

    cpus: str
    memory_bytes: int
    mem_access: str = ""


class NumaTune(Struct, frozen=True, kw_only=True):
    """The NUMA nodes of the host that the guest's memory comes from, as a set."""

    nodeset: str
    mode: str = "strict"


class Cpu(Struct, frozen=True, kw_only=True):
    """The guest's CPU; `mode` in libvirt's words, `model` for `custom` only, `features` by libvirt's policy.

    The order of `numa` numbers the cells.
    """

    mode: str
    model: str = ""
    match: str = ""
    fallback: str = ""
    check: str = ""
    topology: Topology | None = None
    numa: tuple[NumaCell, ...] = ()
    features: Mapping[str, str] = field(default_factory=dict)


class CpuTune(Struct, frozen=True, kw_only=True):
    """How the host shares its CPUs out to the guest; the CPUs of a thread as sets, by its number."""

    shares: int | None = None
    period: int | None = None
    quota: int | None = None
    vcpupin: Mapping[str, str] = field(default_factory=dict)
    emulatorpin: str = ""
    iothreadpin: Mapping[str, str] = field(default_factory=dict)


class Firmware(Struct, frozen=True, kw_only=True):
    """`bios`, or `uefi` with a loader that libvirt chooses; `secure_boot` None leaves that to it too."""

    kind: str = "bios"
    secure_boot: bool | None = None


class BootMenu(Struct, frozen=True, kw_only=True):
    """Whether the guest's firmware offers a menu of what to boot from, and for how long."""

    enable: bool = True
    timeout_ms: int | None = None
