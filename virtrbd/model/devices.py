"""A domain's devices, but for its disks."""

from collections.abc import Mapping

from msgspec import Struct, field


class Filter(Struct, frozen=True, kw_only=True):
    """A network filter of libvirt's with its parameters."""

    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)


class Interface(Struct, frozen=True, kw_only=True):
    """A network interface, keyed by MAC; exactly one of `network`, `bridge` and `direct` is not empty."""

    mac: str
    network: str = ""
    bridge: str = ""
    direct: str = ""
    direct_mode: str = "bridge"
    model: str = "virtio"
    vlan: tuple[int, ...] = ()
    mtu: int | None = None
    queues: int | None = None
    link: str = ""
    filterref: Filter | None = None
    boot: int | None = None


class Graphics(Struct, frozen=True, kw_only=True):
    """A screen; `port` None lets libvirt choose one, `listen` `default` takes the address of qemu.conf."""

    kind: str
    listen: str = "127.0.0.1"
    port: int | None = None
    image_compression: str = ""


class Input(Struct, frozen=True, kw_only=True):
    """A pointer or a keyboard beside those that every machine has."""

    type: str
    bus: str = "usb"


class UsbController(Struct, frozen=True, kw_only=True):
    """The first USB controller, where libvirt is not to choose it; `none`: the guest has no USB."""

    model: str = "qemu-xhci"
    ports: int | None = None

    @property
    def companions(self) -> Mapping[str, int]:
        """The first port of each of the controllers that serve the USB 1 devices of an ich9-ehci1, by model."""
        if self.model != "ich9-ehci1":
            return {}
        return {"ich9-uhci1": 0, "ich9-uhci2": 2, "ich9-uhci3": 4}


class Filesystem(Struct, frozen=True, kw_only=True):
    """A folder of the host that the guest mounts by virtiofs, by its tag `target`."""

    source: str
    target: str


class HostDevice(Struct, frozen=True, kw_only=True):
    """A device of the host that the guest gets for itself.

    `kind` is libvirt's: `pci` with the address 0000:06:00.0, `usb` with vendor:product, `mdev` with its UUID.
    """

    kind: str
    address: str
    managed: bool

    @property
    def model(self) -> str:
        """libvirt's model of a mediated device, "" for others."""
        return "vfio-pci" if self.kind == "mdev" else ""

    @property
    def source(self) -> tuple[tuple[str, Mapping[str, str]], ...]:
        """The elements and their attributes by which libvirt knows it."""
        if self.kind == "mdev":
            return (("address", {"uuid": self.address}),)
        if self.kind == "usb":
            vendor, product = self.address.split(":")
            return ("vendor", {"id": f"0x{vendor}"}), ("product", {"id": f"0x{product}"})
        domain, bus, place = self.address.split(":")
        slot, function = place.split(".")
        numbers = {"domain": domain, "bus": bus, "slot": slot, "function": function}
        return (("address", {name: f"0x{number}" for name, number in numbers.items()}),)


class Memballoon(Struct, frozen=True, kw_only=True):
    """The memory balloon; `stats_period` in seconds."""

    model: str = "virtio"
    autodeflate: bool | None = None
    free_page_reporting: bool | None = None
    stats_period: int | None = None


class Watchdog(Struct, frozen=True, kw_only=True):
    model: str
    action: str = "reset"


class Tpm(Struct, frozen=True, kw_only=True):
    """An emulated TPM, by swtpm."""

    model: str
    version: str
