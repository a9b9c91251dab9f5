"""A domain as its spec wants it."""

from collections.abc import Mapping

from msgspec import Struct, field

from virtrbd.model.devices import (
    Filesystem,
    Graphics,
    HostDevice,
    Input,
    Interface,
    Memballoon,
    Tpm,
    UsbController,
    Watchdog,
)
from virtrbd.model.disk import Cdrom, Disk
from virtrbd.model.machine import BootMenu, Cpu, CpuTune, Firmware, NumaTune
from virtrbd.model.overlay import Overlay
from virtrbd.model.power import WantedState
from virtrbd.model.seed import Seed


class Domain(Struct, frozen=True, kw_only=True):
    """A domain as its spec wants it, with every default decided.

    `memory_bytes` and `vcpus` are its maxima, the `current_` fields what it starts with, None for all.
    `hugepages_bytes` 0 takes the host's default size. `vsock_cid` 0 lets libvirt choose. `features`: what is
    switched on or off, in libvirt's words. `boot`: the kinds of devices that the guest boots from, where no device has
    an order of its own. `timers`: whether the guest has one, or what happens to ticks that it
    missed. `pcie_root_ports`: how many there are at least. `channels`: the names of virtio ports of the guest, each a
    socket of the host. `silence`: the codes of lints that are not reported.
    """

    name: str
    uuid: str
    memory_bytes: int
    vcpus: int
    machine: str
    hypervisor: str
    host: str
    disks: tuple[Disk, ...]
    title: str = ""
    description: str = ""
    current_memory_bytes: int | None = None
    memballoon: Memballoon | None = None
    hugepages_bytes: int | None = None
    current_vcpus: int | None = None
    cpuset: str = ""
    cputune: CpuTune | None = None
    numatune: NumaTune | None = None
    cpu: Cpu | None = None
    machine_upgrade: bool = False
    firmware: Firmware = field(default_factory=Firmware)
    boot: tuple[str, ...] = ()
    boot_menu: BootMenu | None = None
    clock: str = "utc"
    timers: Mapping[str, bool | str] = field(default_factory=dict)
    features: Mapping[str, bool] = field(default_factory=lambda: {"acpi": True, "apic": True})
    on_poweroff: str = ""
    on_reboot: str = ""
    on_crash: str = ""
    pm: Mapping[str, bool] = field(default_factory=dict)
    cdroms: tuple[Cdrom, ...] = ()
    seed: Seed | None = None
    interfaces: tuple[Interface, ...] = ()
    hostdevs: tuple[HostDevice, ...] = ()
    filesystems: tuple[Filesystem, ...] = ()
    graphics: Graphics | None = None
    video: str = ""
    pcie_root_ports: int = 0
    usb_controller: UsbController | None = None
    inputs: tuple[Input, ...] = ()
    sound: str = ""
    spice_agent: bool = False
    usb_redirections: int = 0
    serial_console: bool = True
    guest_agent: bool = True
    channels: tuple[str, ...] = ()
    rng: bool = True
    asset_tag: bool = True
    watchdog: Watchdog | None = None
    tpm: Tpm | None = None
    vsock_cid: int | None = None
    autostart: bool = False
    state: WantedState = WantedState.UNMANAGED
    template: str = "domain.xml.j2"
    xml: Overlay | None = None
    silence: tuple[str, ...] = ()
    origin: str = ""
    digest: str = ""

    @property
    def shares_memory(self) -> bool:
        """Whether all memory must be shared with virtiofsd, because its NUMA cells do not say so themselves."""
        cells = self.cpu.numa if self.cpu else ()
        is_said = bool(cells) and all(cell.mem_access == "shared" for cell in cells)
        return bool(self.filesystems) and not is_said

    @property
    def iothreads(self) -> int:
        """How many I/O threads its disks need."""
        return max(
            (thread for disk in self.disks for thread in (disk.iothread or 0, *map(int, disk.iothreads))), default=0
        )
