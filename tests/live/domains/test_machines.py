"""UEFI, a TPM and a libvirt network: each is booted once, from RBD, with what libvirt chooses for it."""

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator

import pytest
from support.fleets import Fleet
from support.guests import FILL, FORMAT, Guest
from support.lab import LabHost
from support.waiting import eventually
from support.xml import at

UEFI_BOOT_TIMEOUT_S = 100


def define(host: LabHost, name: str, text: str) -> str:
    """Define the spec and return what that said. OVMF crashes on 128 MiB, which BIOS guests get."""
    (host.folder / f"{name}.yaml").write_text(f"name: {name}\nmemory: 512M\n{text}")
    return str(host.ok("virtrbd", "define", f"{name}.yaml"))


@pytest.fixture
def boot(host: LabHost, name: str) -> Iterator[Callable[[str], Guest]]:
    """Define a spec, start it and listen to its console."""
    guest = Guest(name=name, bus="virtio", env=host.env())

    def define_and_start(text: str) -> Guest:
        define(host, name, text)
        guest.start()
        return guest

    yield define_and_start
    host.run("virsh", "destroy", name)
    # The NVRAM is the definition's own file: virsh undefines such a domain only when it is told.
    host.run("virsh", "undefine", "--nvram", name)


@pytest.mark.stack
@pytest.mark.timeout(150)
def test_a_uefi_guest_with_a_tpm_boots_and_keeps_its_loader(
    host: LabHost, name: str, golden: str, boot: Callable[[str], Guest]
) -> None:
    text = f"firmware: {{type: uefi, secure_boot: false}}\ntpm: true\ndisks:\n  - clone: {golden}\n"
    guest = boot(text)
    guest.await_up(1, UEFI_BOOT_TIMEOUT_S)
    assert guest.shell("ls -d /sys/firmware/efi /sys/class/tpm/tpm0").split() == [
        "/sys/class/tpm/tpm0",
        "/sys/firmware/efi",
    ]
    live = ET.fromstring(host.ok("virsh", "dumpxml", name))
    assert "OVMF" in live.findtext("os/loader", "")
    assert at(live, "devices/tpm").get("model") == "tpm-crb"
    assert define(host, name, text) == f"{name}: nothing to do\n"
    define(host, name, f"title: changed\n{text}")
    kept = ET.fromstring(host.ok("virsh", "dumpxml", "--inactive", name))
    assert (at(kept, "os").get("firmware"), kept.findtext("title")) == ("efi", "changed")
    host.ok("virtrbd", "destroy", name, "--allow", "interrupts-guest")
    assert "undefined" in host.ok("virtrbd", "undefine", name)


NETWORK = """
<network>
  <name>{name}</name>
  <bridge name="{bridge}"/>
  <ip address="192.168.217.1" netmask="255.255.255.0">
    <dhcp><range start="192.168.217.10" end="192.168.217.20"/></dhcp>
  </ip>
</network>
"""


@pytest.fixture
def network(host: LabHost, name: str) -> Iterator[str]:
    bridge = f"vr{name[-8:]}"
    (host.folder / "network.xml").write_text(NETWORK.format(name=name, bridge=bridge))
    host.ok("virsh", "net-define", "network.xml")
    host.ok("virsh", "net-start", name)
    yield name
    host.run("virsh", "net-destroy", name)
    host.run("virsh", "net-undefine", name)


@pytest.mark.timeout(120)
def test_a_guest_gets_its_address_from_a_libvirt_network(
    host: LabHost, name: str, golden: str, boot: Callable[[str], Guest], network: str
) -> None:
    guest = boot(f"interfaces:\n  - {{network: {network}, mtu: 1400}}\ndisks:\n  - clone: {golden}\n")
    guest.await_up(1, 60)
    mac = at(ET.fromstring(host.ok("virsh", "dumpxml", name)), "devices/interface/mac").get("address", "no MAC")
    # The agent tells what the guest itself sees, the MAC that was derived from the spec, once its driver is loaded.
    eventually(
        f"{mac} is in the guest", lambda: mac in host.ok("virsh", "domifaddr", name, "--source", "agent", "--full")
    )
    assert host.ok("virtrbd", "define", f"{name}.yaml") == f"{name}: nothing to do\n"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("bus", ["ide", "sata", "scsi", "virtio"])
def test_with_discard_ignored_a_trim_gives_nothing_back(golden: str, boot: Callable[[str], Guest], bus: str) -> None:
    """The other half of test_buses' trims: the guest trims all the same, and QEMU drops it."""
    disks = f"  - {{bus: {bus}, clone: {golden}}}\n  - {{bus: {bus}, size: 96M, discard: ignore}}\n"
    guest = boot(f"silence: discard-ignored\ndisks:\n{disks}")
    guest.await_up(1, 60)
    guest.shell(FORMAT)
    guest.shell(FILL.format(file="/mnt/big"))
    full = guest.images()[1]["allocated_bytes"]
    guest.shell("rm /mnt/big; sync")
    trimmed = {found["path"]: found for found in guest.agent("guest-fstrim")["paths"]}
    assert "error" not in trimmed["/mnt"]
    assert guest.images()[1]["allocated_bytes"] == full


# Between them all that libvirt or QEMU turns into something else at a start: ports, CPUs, limits, doors, drives.
KINDS = {
    "q35": """
current_memory: 64M
vcpus: 1
max_vcpus: 2
autostart: true
title: All buses
graphics: {type: vnc}
video: qxl
disks:
  - {size: 8M, boot: 1, iotune: {total_iops_sec: 2000, total_iops_sec_max: 4000}}
  - {bus: scsi, size: 8M, wwn: "5000c50015ea71ab", rotation_rate: 1}
  - {bus: sata, size: 8M, cache: none}
  - {bus: usb, size: 8M}
cdroms:
  - bus: scsi
  - {}
""",
    "pc": """
machine: pc
vcpus: 2
cpu: {model: qemu64, topology: {sockets: 1, cores: 2}}
clock: localtime
features: {hyperv: true, vmport: false}
graphics: {type: spice, listen: 127.0.0.1}
on_crash: restart
disks:
  - {bus: ide, size: 8M, cache: writeback, discard: unmap, serial: L-1}
  - {bus: ide, size: 5M, cache: writethrough, discard: ignore, rotation_rate: 7200}
  - {size: 8M, iothread: 1, queues: 2, error_policy: report, rerror_policy: stop}
  - {size: 8M, iothread: 2, iotune: {read_bytes_sec: 1000000, group_name: slow}}
""",
    "bare": """
serial_console: false
guest_agent: false
rng: false
clock: Europe/Berlin
cpu: {mode: host-model}
cloud_init: true
watchdog: {model: i6300esb, action: reset}
disks:
  - {size: 8M, detect_zeroes: unmap}
""",
    # libvirt 9 writes the loader in the place of the word for it, 11 keeps both; 12 writes down the TPM's profile.
    "uefi": """
firmware: {type: uefi, secure_boot: false}
tpm: true
watchdog: {model: i6300esb, action: poweroff}
disks:
  - {size: 8M}
""",
}

# One after the other, of one domain: libvirt 9.1 and later has a watchdog of the chipset beside the one that is asked
# for, and a loader that it chose for the last firmware.
CHANGES = (
    "",
    "watchdog: i6300esb\n",
    "watchdog: {model: itco, action: poweroff}\n",
    "watchdog: {model: i6300esb, action: pause}\nfirmware: {type: uefi, secure_boot: false}\n",
    "firmware: {type: uefi, secure_boot: true}\n",
    "machine: pc\nfirmware: {type: uefi, secure_boot: false}\nwatchdog: i6300esb\n",
    "machine: q35\n",
)


@pytest.mark.stack
@pytest.mark.timeout(120)
def test_another_watchdog_and_firmware_are_taken_and_are_no_difference_then(
    host: LabHost, name: str, libvirt_version: tuple[int, ...]
) -> None:
    for text in CHANGES:
        if "itco" in text and libvirt_version < (9, 1):
            continue
        spec = host.spec(name, f"{text}disks:\n  - {{size: 8M}}\n")
        host.ok("virtrbd", "define", spec)
        assert host.ok("virtrbd", "define", spec) == f"{name}: nothing to do\n", text
    dogs = [dict(dog.attrib) for dog in ET.fromstring(host.ok("virsh", "dumpxml", name)).findall("devices/watchdog")]
    assert dogs in ([], [{"model": "itco", "action": "reset"}])


@pytest.mark.stack
def test_guests_differ_in_nothing_from_what_they_were_started_with(fleet: Fleet) -> None:
    for kind, text in KINDS.items():
        fleet.spec(kind, f"state: running{text}")
    assert fleet.reconcile().code == 0
    planned = fleet.run("plan")
    # The balloon gives back what it has to once the guest has a driver for it.
    asked = "asked of the guest: /currentMemory: it has 128 MiB and should have 64 MiB"
    told = [line for line in planned.out.splitlines() if line.startswith(fleet.name) and asked not in line]
    assert (told, asked in planned.out) == ([], True), planned
