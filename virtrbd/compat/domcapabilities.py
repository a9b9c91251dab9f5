"""Values that a domain may use only if libvirt lists them: one row for each enum of its domcapabilities."""

from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct

from virtrbd.model.capabilities import Capabilities
from virtrbd.model.disk import Bus
from virtrbd.model.domain import Domain

# Debian packages it separately from 13 on, Fedora from 34; RHEL 9 and later do not have it.
_SPICE = (
    "install QEMU's modules for spice (qemu-system-modules-spice, or qemu-ui-spice-core and qemu-device-display-qxl)"
)


class Offer(Struct, frozen=True, kw_only=True):
    """An enum, the value that a domain takes from it (empty for none), its name in a spec, and the way out.

    `modules`: how to install the QEMU module for a value, where that is a separate package.
    """

    enum: str
    value: Callable[[Domain], str]
    field: str
    way_out: str
    modules: Mapping[str, str] = {}


OFFERS = (
    Offer(
        enum="os.firmware",
        value=lambda domain: "efi" if domain.firmware.kind == "uefi" else "",
        field="firmware uefi",
        way_out="install OVMF (the package ovmf or edk2-ovmf), or use bios",
    ),
    Offer(
        enum="os.loader.secure",
        value=lambda domain: "yes" if domain.firmware.secure_boot else "",
        field="firmware.secure_boot",
        way_out="install OVMF with Secure Boot and use q35, or leave it out",
    ),
    Offer(
        enum="cpu.mode",
        value=lambda domain: domain.cpu.mode if domain.cpu else "",
        field="cpu mode",
        way_out="use another mode, or a model; see virsh domcapabilities",
    ),
    Offer(
        enum="cpu.custom.model",
        value=lambda domain: domain.cpu.model if domain.cpu else "",
        field="cpu model",
        way_out="use a value that virsh domcapabilities lists",
    ),
    Offer(
        enum="tpm.model",
        value=lambda domain: domain.tpm.model if domain.tpm else "",
        field="tpm model",
        way_out="install swtpm, or leave tpm out",
    ),
    Offer(
        enum="tpm.backendModel",
        value=lambda domain: "emulator" if domain.tpm else "",
        field="tpm backend",
        way_out="install swtpm and restart libvirtd, or leave tpm out",
    ),
    Offer(
        enum="tpm.backendVersion",
        value=lambda domain: domain.tpm.version if domain.tpm else "",
        field="tpm version",
        way_out="use the other model, or leave tpm out",
    ),
    Offer(
        enum="graphics.type",
        value=lambda domain: domain.graphics.kind if domain.graphics else "",
        field="graphics",
        way_out="use another type, or none",
        modules={"spice": _SPICE},
    ),
    Offer(
        enum="video.modelType",
        value=lambda domain: domain.video,
        field="video",
        way_out="use another model",
        modules={"qxl": _SPICE},
    ),
    Offer(
        enum="rng.model",
        value=lambda domain: "virtio" if domain.rng else "",
        field="rng model",
        way_out="write rng: false",
    ),
)


def not_offered(domain: Domain, capabilities: Capabilities) -> Iterator[str]:
    """Yield the values of the machine around the disks that the hypervisor does not list."""
    for offer in OFFERS:
        value = offer.value(domain)
        if value and not capabilities.offers_value(offer.enum, value):
            module = f"{offer.modules[value]}, or " if value in offer.modules else ""
            name = _name(offer.field, value)
            yield f"{name} is not offered by {capabilities.machine} here; {module}{offer.way_out}"


def _name(field: str, value: str) -> str:
    # "firmware uefi" suffices: its enum's own word is not written in a spec.
    return field if field.startswith("firmware") else f"{field} {value}"


def bus_problem(bus: Bus, capabilities: Capabilities) -> str:
    """Return why a drive can't be on the bus, empty where it can."""
    if capabilities.offers_value("disk.bus", bus):
        return ""
    known = {member.value for member in Bus}
    offered = ", ".join(sorted(known & capabilities.offers.get("disk.bus", frozenset()))) or "none"
    way_out = "write machine: pc, or bus: sata" if bus is Bus.IDE else "use another bus"
    return f"bus {bus} is not offered by {capabilities.machine} here ({offered}); {way_out}"
