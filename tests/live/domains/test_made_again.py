"""Domains of the kinds that people have: each is adopted, undefined, made again from its spec, and is the same."""

import subprocess
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import libvirt
import pytest
from lxml import etree
from support.checkout import CHECKOUT
from support.made_again import MONITOR, RBD_DISK, SECRET, Host, made_again

from virtrbd.hypervisor.command_line import made_of
from virtrbd.hypervisor.connection import Hypervisor
from virtrbd.specs.settings import load_settings

pytestmark = pytest.mark.live

PCI = "<address type='pci' domain='0x0000' bus='0x{bus:02x}' slot='0x{slot:02x}' function='0x0'/>"


def disk(kind: str, source: str, target: str, bus: str, more: str = "", *, device: str = "disk") -> str:
    return (
        f"<disk type='{kind}' device='{device}'><driver name='qemu' type='raw'/>{source}"
        f"<target dev='{target}' bus='{bus}'/>{more}</disk>"
    )


def drive(controller: int, bus: int, unit: int) -> str:
    return f"<address type='drive' controller='{controller}' bus='{bus}' target='0' unit='{unit}'/>"


FILE, BLOCK = "<source file='/srv/x.img'/>", "<source dev='/dev/mapper/x'/>"
NIC = (
    "<interface type='bridge'><mac address='52:54:00:0a:00:{n:02x}'/><source bridge='br0'/><model type='{model}'/>"
    "{more}</interface>"
)
PORTS = "".join(f"<controller type='pci' index='{n}' model='pcie-root-port'/>" for n in range(1, 15))
# libvirt 12.8 wants a hypervclock beside stimer.
HYPERV = "<hyperv><relaxed state='on'/><vpindex state='on'/><synic state='on'/><stimer state='on'/></hyperv>"
HOST_PCI = (
    "<hostdev mode='subsystem' type='pci' managed='yes'><source>"
    "<address domain='0x0000' bus='0x41' slot='0x00' function='0x0'/></source></hostdev>"
)
SHARED = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"
CELLS = "<numa><cell id='0' cpus='0-1' memory='262144'/><cell id='1' cpus='2-3' memory='262144'/></numa>"
VIRTIOFS = (
    "<filesystem type='mount' accessmode='passthrough'><driver type='virtiofs' queue='1024'/><source dir='/srv/a'/>"
    "<target dir='a'/></filesystem>"
)

# By name: elements of the domain, of its devices, and the machine (q35 unless it says pc).
DOMAINS: dict[str, tuple[str, str, str]] = {
    "balloon-none": ("", "<memballoon model='none'/>", ""),
    "balloon-stats": ("", "<memballoon model='virtio' autodeflate='on'><stats period='10'/></memballoon>", ""),
    "balloon-place": ("", f"<memballoon model='virtio'>{PCI.format(bus=0, slot=9)}</memballoon>", "pc"),
    "controller-ports": ("", PORTS, ""),
    "controller-ports-hotplug": (
        "", "<controller type='pci' index='1' model='pcie-root-port'><target hotplug='off'/></controller>", ""),
    "controller-scsi": (
        "", "<controller type='scsi' index='0' model='virtio-scsi'><driver queues='4'/></controller>", ""),
    "controller-lsi": ("", "<controller type='scsi' index='0' model='lsilogic'/>", "pc"),
    "controller-usb2": ("", "<controller type='usb' index='0' model='ich9-ehci1'/>", "pc"),
    "controller-usb-xhci-on-pc": ("", "<controller type='usb' index='0' model='qemu-xhci'/>", "pc"),
    "controller-usb-none": ("", "<controller type='usb' index='0' model='none'/>", ""),
    "controller-usb-ports": ("", "<controller type='usb' index='0' model='qemu-xhci' ports='15'/>", ""),
    "controller-usb2-companions": (
        "", "<controller type='usb' index='0' model='ich9-ehci1'/>" + "".join(
            f"<controller type='usb' index='0' model='ich9-uhci{n}'><master startport='{2 * n - 2}'/></controller>"
            for n in (1, 2, 3)), ""),
    "hub-for-devices": ("", "<input type='tablet' bus='usb'/>" * 3, "pc"),
    "hub-of-its-own": ("", "<hub type='usb'/><input type='tablet' bus='usb'/>", ""),
    "usb-redirections": (
        "", "<redirdev bus='usb' type='spicevmc'/>" * 2 + "<graphics type='spice' autoport='yes'/>", ""),
    "controller-serial-ports": ("", "<controller type='virtio-serial' index='0' ports='4' vectors='2'/>", ""),
    "controller-second-sata": ("", "<controller type='sata' index='1'/>", ""),
    "controller-bridge": ("", "<controller type='pci' index='1' model='pci-bridge'/>", "pc"),
    "disk-file": ("", disk("file", FILE, "vda", "virtio"), ""),
    "disk-block-scsi": ("", disk("block", BLOCK, "sda", "scsi"), ""),
    "disk-drive-address": ("", disk("file", FILE, "sdc", "sata", drive(0, 0, 5)), ""),
    "disk-drive-address-scsi": ("", disk("file", FILE, "sdb", "scsi", drive(0, 0, 12)), ""),
    "disk-ide-second-bus": ("", disk("file", FILE, "hdb", "ide", drive(0, 1, 1)), "pc"),
    "disk-iso": ("", disk("file", FILE, "sda", "sata", "<readonly/>", device="cdrom"), ""),
    "disk-empty-drive": ("", disk("file", "", "hdc", "ide", "<readonly/>", device="cdrom"), "pc"),
    "disk-floppy": ("", disk("file", FILE, "fda", "fdc", device="floppy"), "pc"),
    "disk-qcow2": (
        "", disk("file", FILE, "vdb", "virtio", "<serial>A1</serial>").replace("'raw'", "'qcow2' cache='none'"), ""),
    "disk-of-another-cluster": (
        "", RBD_DISK.format(name="y", target="vdb", bus="virtio").replace(MONITOR, "10.9.9.9"), ""),
    "disk-nbd": (
        "", disk("network", "<source protocol='nbd' name='x'><host name='10.2.2.2' port='10809'/></source>", "vdb",
        "virtio"), ""),
    "boot-network": ("<os><boot dev='network'/><boot dev='hd'/></os>", NIC.format(n=1, model="virtio", more=""), ""),
    "boot-orders": ("", NIC.format(n=1, model="virtio", more="<boot order='2'/>"), ""),
    "boot-menu": ("<os><bootmenu enable='yes' timeout='3000'/></os>", "", ""),
    "boot-bios-serial": ("<os><bios useserial='yes' rebootTimeout='10'/></os>", "<serial type='pty'/>", ""),
    "boot-kernel": ("<os><kernel>/srv/vmlinuz</kernel><cmdline>quiet a=&quot;b&quot;</cmdline></os>", "", ""),
    "interface-user": (
        "", "<interface type='user'><mac address='52:54:00:0a:00:01'/><model type='e1000'/></interface>", "pc"),
    "interfaces-in-their-order": (
        "", "<interface type='user'><mac address='52:54:00:0a:00:09'/><model type='virtio'/></interface>"
        + NIC.format(n=1, model="virtio", more="<link state='up'/>") + NIC.format(n=2, model="e1000e", more=""), ""),
    "interface-bandwidth": (
        "", NIC.format(n=1, model="virtio", more="<bandwidth><inbound average='1000'/></bandwidth>"), ""),
    "interface-place": ("", NIC.format(n=1, model="virtio", more=PCI.format(bus=0, slot=7)), "pc"),
    "channel-spice": (
        "", "<channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>"
        "<graphics type='spice' autoport='yes'/>", ""),
    "channel-ports": (
        "", "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/>"
        "<address type='virtio-serial' controller='0' bus='0' port='3'/></channel>", ""),
    "cpuset": ("<vcpu placement='static' cpuset='0-1' current='2'>4</vcpu>", "", ""),
    "cpu-check": (
        "<cpu mode='custom' match='exact' check='full'><model fallback='forbid'>qemu64</model>"
        "<feature policy='disable' name='svm'/></cpu>", "", ""),
    "cpu-pinned": ("<cputune><vcpupin vcpu='0' cpuset='0'/><emulatorpin cpuset='0'/></cputune>", "", ""),
    "graphics-two": ("", "<graphics type='vnc' port='-1' autoport='yes'/><graphics type='spice' autoport='yes'/>", ""),
    "graphics-vnc-socket": ("", "<graphics type='vnc' socket='/run/x.sock'/>", ""),
    "graphics-qxl": (
        "", "<graphics type='spice' autoport='yes'/><video><model type='qxl' ram='65536' vram='131072' vgamem='16384' "
        "heads='2'/></video>", ""),
    "video-place": (
        "", f"<graphics type='vnc'/><video><model type='vga'/>{PCI.format(bus=0, slot=12)}</video>", "pc"),
    "numa": (f"<vcpu>4</vcpu><cpu>{CELLS}</cpu>", "", ""),
    "numa-tuned": ("<numatune><memory mode='strict' nodeset='0'/></numatune>", "", ""),
    "serial-two": (
        "", "<serial type='pty'><target port='0'/></serial><serial type='file'><source path='/srv/log'/>"
        "<target port='1'/></serial>", ""),
    "serial-tcp": (
        "", "<serial type='tcp'><source mode='bind' host='127.0.0.1' service='4555'/><protocol type='telnet'/>"
        "<target port='0'/></serial>", ""),
    "timers": (
        "<clock offset='localtime'><timer name='rtc' tickpolicy='catchup'/><timer name='pit' tickpolicy='delay'/>"
        "<timer name='hpet' present='no'/></clock>", "", ""),
    "filesystem-9p": (
        "", "<filesystem type='mount' accessmode='mapped'><source dir='/srv/a'/><target dir='a'/></filesystem>", ""),
    "filesystem-virtiofs": (SHARED, VIRTIOFS, ""),
    "hostdev-pci": ("", HOST_PCI, ""),
    "hostdev-usb": (
        "", "<hostdev mode='subsystem' type='usb'><source><vendor id='0x1234'/><product id='0xbeef'/></source>"
        "</hostdev>", ""),
    "hostdev-interface": (
        "", "<interface type='hostdev' managed='yes'><mac address='52:54:00:0a:00:01'/><source>"
        "<address type='pci' domain='0x0000' bus='0x41' slot='0x02' function='0x1'/></source></interface>", ""),
    "input-tablet": ("", "<input type='tablet' bus='usb'/><graphics type='vnc'/>", ""),
    "input-virtio": ("", "<input type='keyboard' bus='virtio'/><input type='mouse' bus='virtio'/>", ""),
    "hugepages": (
        "<memoryBacking><hugepages><page size='2048' unit='KiB'/></hugepages><locked/></memoryBacking>", "", ""),
    "memory-by-kib": (
        "<maxMemory slots='4' unit='KiB'>1048576</maxMemory><memory>524288</memory>"
        f"<currentMemory>219100</currentMemory><vcpu>4</vcpu><cpu>{CELLS}</cpu>", "", ""),
    "audio": ("", "<sound model='ich9'><audio id='1'/></sound><audio id='1' type='file' path='/srv/a.wav'/>", ""),
    "audio-two": (
        "", "<audio id='1' type='none'/><audio id='2' type='alsa'/><graphics type='vnc'><audio id='2'/></graphics>",
        ""),
    "sound": ("", "<sound model='ich6'><codec type='micro'/></sound><graphics type='spice' autoport='yes'/>", ""),
    "oem-strings": (
        "<sysinfo type='smbios'><bios><entry name='vendor'>a</entry></bios><oemStrings><entry>one</entry>"
        "<entry>two &amp; three</entry></oemStrings></sysinfo><os><smbios mode='sysinfo'/></os>", "", ""),
    "uefi-keys": (
        "<os firmware='efi'><firmware><feature enabled='no' name='enrolled-keys'/></firmware></os>", "", ""),
    "uefi-loader": (
        "<os><loader readonly='yes' secure='no' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>"
        "<nvram template='/usr/share/OVMF/OVMF_VARS_4M.fd'>/srv/x_VARS.fd</nvram></os>", "", ""),
    "uefi-secure": (
        "<os firmware='efi'><loader secure='yes'/></os><features><acpi/><smm state='on'/></features>", "", ""),
    "tpm-and-watchdog": (
        "", "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm><watchdog model='i6300esb' "
        "action='poweroff'/>", ""),
    "windows": (
        f"<features><acpi/><apic/>{HYPERV}</features><clock><timer name='hypervclock' present='yes'/></clock>",
        "<rng model='virtio'><rate bytes='1024'/>"
        "<backend model='random'>/dev/urandom</backend></rng>", ""),
    "i686": ("<os><type arch='i686' machine='pc-i440fx-7.2'>hvm</type></os>", "", "pc"),
    "qemu-arguments": (
        "<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><qemu:arg value='-fw_cfg'/>"
        "<qemu:arg value='name=opt/x,string={%y%}'/></qemu:commandline>", "", ""),
    "texts": (
        "<title>a \u200b b</title><description>{{ x }}\n\n  two: lines  \n</description><genid>"
        "5eed0000-0000-4000-8000-0000000000ff</genid>", "", ""),
}  # fmt: skip
NAMES = list(DOMAINS)
SHARES = 12


@pytest.fixture(scope="module")
def here(lab: Path) -> Iterator[Host]:  # noqa: ARG001
    libvirt.registerErrorHandler(lambda *_: None, None)
    tool = [str(CHECKOUT / "tools/lab"), "env", "--host", "kvm-1", "--", "printenv", "VIRTRBD_CONFIG"]
    settings = load_settings(subprocess.check_output(tool, text=True).strip())
    connection = libvirt.open(settings.connect)
    with Hypervisor.connect(settings) as hypervisor:
        host = Host(
            connection=connection, capabilities_of=hypervisor.capabilities, made_of=partial(made_of, hypervisor)
        )
        host.define_secret()
        yield host
        connection.secretLookupByUUIDString(SECRET).undefine()
    connection.close()


def document(name: str) -> str:
    """The domain as somebody would define it; what it says itself goes before what all have."""
    tops, devices, machine = DOMAINS[name]
    own = {"vcpu": "<vcpu>1</vcpu>", "memory": "<memory>219100</memory>"}
    own["features"] = "<features><acpi/><apic/></features>"
    kind = "pc-i440fx-7.2" if machine else "pc-q35-7.2"
    base = "" if "<type " in tops else f"<type arch='x86_64' machine='{kind}'>hvm</type>"
    os_element = f"<os>{base}</os>" if "<os" not in tops else ""
    tops = tops.replace("<os>", f"<os>{base}", 1) if "<os>" in tops else tops.replace("efi'>", f"efi'>{base}", 1)
    said = {child.tag for child in etree.fromstring(f"<domain>{tops}</domain>")}
    rest = "".join(xml for tag, xml in own.items() if tag not in said)
    boot = "<boot order='1'/></disk>"
    own_disk = RBD_DISK.format(name="x", target="vdz", bus="virtio")
    own_disk = own_disk.replace("</disk>", boot) if name == "boot-orders" else own_disk
    known = f"<name>{name}</name><uuid>{uuid.uuid5(uuid.NAMESPACE_DNS, name)}</uuid>"
    return f"<domain type='qemu'>{known}{rest}{os_element}{tops}<devices>{devices}{own_disk}</devices></domain>"


def test_there_are_sixty_of_them() -> None:
    assert len(NAMES) >= 60


@pytest.mark.parametrize("share", range(SHARES))
def test_a_domain_is_the_same_when_it_is_made_again_from_its_spec(here: Host, share: int) -> None:
    for name in NAMES[share::SHARES]:
        again = made_again(here, document(name))
        assert (name, again.found.refusals, again.changes, again.differences) == (name, (), (), ())
