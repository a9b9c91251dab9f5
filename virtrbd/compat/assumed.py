"""Assumed capabilities, as the operator writes them: `libvirt=11.6,qemu=10.0,machine=q35`."""

from virtrbd.errors import UsageError
from virtrbd.model.capabilities import Capabilities, Version, parse_version, version_text
from virtrbd.printable import quoted

# Debian 13's, the newest stable distribution with libvirt, QEMU and Ceph together.
LIBVIRT: Version = (11, 3, 0)
QEMU: Version = (10, 0, 0)

_FORM = "write it like libvirt=11.6,qemu=10.0,machine=q35, each part as you need it"
# pc_piix.c and pc_q35.c have these names from QEMU 1.4 on; before, there was no q35, and pc was pc-1.3.
_NAMED: Version = (1, 4, 0)
_BUSES = frozenset({"fdc", "scsi", "virtio", "usb", "sata"})


def capabilities_by_hand(text: str, default_machine: str) -> Capabilities:
    """Return the capabilities that the text names. Raises UsageError.

    Only the offered disk buses are known: the rest depends on how QEMU was built and what is installed.
    """
    parts = _parts(text)
    qemu = _version(parts, "qemu", QEMU)
    if "machine" in parts:
        machine = _canonical(parts["machine"], qemu)
    else:
        # A default machine becomes the one that this QEMU had.
        machine = _canonical("pc" if default_machine == "q35" and qemu < _NAMED else default_machine, qemu)
    known = Capabilities(libvirt=_version(parts, "libvirt", LIBVIRT), qemu=qemu, machine=machine)
    if known.machine_version is not None and known.machine_version > qemu:
        raise UsageError(
            f"machine {machine} is newer than QEMU {version_text(qemu)}; write an older one, or qemu="
            f"{version_text(known.machine_version)}"
        )
    buses = _buses(machine)
    return Capabilities(libvirt=known.libvirt, qemu=qemu, machine=machine, offers={"disk.bus": buses} if buses else {})


def _parts(text: str) -> dict[str, str]:
    parts: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = (word.strip() for word in part.partition("="))
        if not part.strip():
            continue
        if name not in ("libvirt", "qemu", "machine") or not equals or not value:
            raise UsageError(f"{quoted(part.strip())} does not name libvirt, qemu or machine; {_FORM}")
        if name in parts:
            raise UsageError(f"{name} is given twice; {_FORM}")
        parts[name] = value
    return parts


def _version(parts: dict[str, str], name: str, default: Version) -> Version:
    if name not in parts:
        return default
    try:
        return parse_version(parts[name])
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None


def _canonical(machine: str, qemu: Version) -> str:
    """Return the name with the version of QEMU's newest machine of the kind."""
    newest = f"{qemu[0]}.{qemu[1]}"
    match machine:
        case "pc":
            return f"pc-i440fx-{newest}" if qemu >= _NAMED else f"pc-{newest}"
        case "q35" if qemu < _NAMED:
            raise UsageError(f"q35 came with QEMU 1.4, this is {version_text(qemu)}; write machine=pc")
        case "q35":
            return f"pc-q35-{newest}"
        case _:
            return machine


def _buses(machine: str) -> frozenset[str]:
    """Return the buses of disks: the i440fx has the IDE controller, q35 has AHCI instead."""
    if "q35" in machine:
        return _BUSES
    return _BUSES | {"ide"} if machine.startswith("pc-") else frozenset()
