"""Devices of others that have a key of virtrbd's stay, defined and running: libvirt takes two of most."""

import xml.etree.ElementTree as ET

import libvirt
import pytest
from support.fleets import Fleet
from support.guests import Guest
from support.lab import LabHost

pytestmark = pytest.mark.stack

MAC = "52:54:00:00:00:0a"
INTERFACES = f'interfaces:\n  - {{bridge: br-a, mac: "{MAC}"}}\n'
# Each beside one of virtrbd's of the same MAC, name, number or kind; they have no place of their own yet.
THEIRS = f"""
<interface type='hostdev' managed='yes'><mac address='{MAC}'/>
<source><address type='pci' domain='0' bus='0x41' slot='0' function='0'/></source>
<teaming type='transient' persistent='ua-back'/></interface>
<interface type='bridge'><mac address='{MAC}'/><source bridge='br-theirs'/><model type='e1000'/></interface>
<serial type='file'><source path='/dev/null'/><target type='pci-serial' port='0'/></serial>
<console type='file'><source path='/dev/null'/><target type='virtio' port='0'/></console>
<channel type='pty'><target type='virtio'/></channel>
<channel type='file'><source path='/dev/null'/><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
"""


def devices(xml: str) -> list[str]:
    """The devices of these kinds, without what libvirt counts: a console's number."""
    root = ET.fromstring(xml)
    for target in root.iterfind("devices/console/target"):
        target.set("port", "")
    return [
        ET.canonicalize(ET.tostring(device, encoding="unicode"), strip_text=True)
        for device in root.iterfind("devices/*")
        if device.tag in ("interface", "serial", "console", "channel", "rng")
    ]


@pytest.mark.timeout(90)
def test_what_virtrbd_takes_out_is_its_own(host: LabHost, name: str) -> None:
    spec = host.spec(name, f"serial_console: true\ndisks:\n  - size: 16M\n{INTERFACES}")
    host.ok("virtrbd", "define", spec)
    ours = devices(host.ok("virsh", "dumpxml", "--inactive", name))
    # In front of virtrbd's, but the ports: the first console is the first serial port's, and libvirt makes it so.
    root = ET.fromstring(host.ok("virsh", "dumpxml", "--inactive", name))
    for place, device in enumerate(ET.fromstring(f"<x>{THEIRS}</x>")):
        found = root.find("devices")
        assert found is not None
        found.insert(place if device.tag not in ("serial", "console") else len(found), device)
    (host.folder / "edited.xml").write_text(ET.tostring(root, encoding="unicode"))
    host.ok("virsh", "define", "edited.xml")
    both = devices(host.ok("virsh", "dumpxml", "--inactive", name))
    theirs = [device for device in both if device not in ours]
    assert (len(ours), len(theirs)) == (5, 7)

    host.spec(name, f"serial_console: true\ndisks:\n  - size: 16M\n{INTERFACES.replace('br-a', 'br-b')}")
    assert f"(/devices/interface:{MAC}/source/@bridge: br-a -> br-b)" in host.ok("virtrbd", "define", spec)
    assert [device for device in devices(host.ok("virsh", "dumpxml", "--inactive", name)) if device in both] == [
        device for device in both if "br-a" not in device
    ]

    host.spec(name, "serial_console: false\nguest_agent: false\nrng: false\ndisks:\n  - size: 16M\ninterfaces: []\n")
    host.ok("virtrbd", "define", spec)
    assert devices(host.ok("virsh", "dumpxml", "--inactive", name)) == theirs
    assert "edit" not in host.ok("virtrbd", "define", spec)


@pytest.mark.timeout(120)
def test_of_two_running_interfaces_of_one_mac_ours_is_changed_and_goes(
    fleet: Fleet,
    golden: str,
    network: str,
) -> None:
    text = f"state: running\ndisks:\n  - {{clone: {golden}}}\n"
    ours = f'interfaces:\n  - {{network: {network}, mac: "{MAC}"LINK}}\n'
    name = fleet.spec("a", text + ours.replace("LINK", ""))
    assert fleet.reconcile().code == 0
    guest = Guest(name=name, bus="virtio", env=fleet.env)
    guest.open_console()
    guest.await_up(1, 90)
    ends = f"<mac address='{MAC}'/><source network='{network}'/><model type='virtio'/>"
    both = libvirt.VIR_DOMAIN_AFFECT_LIVE | libvirt.VIR_DOMAIN_AFFECT_CONFIG
    fleet.domain(name).attachDeviceFlags(f"<interface type='network'>{ends}</interface>", both)
    before = interfaces(fleet, name)
    assert len(before) == 2

    fleet.spec("a", text + ours.replace("LINK", ", link: down"))
    done = fleet.reconcile("--allow", "interrupts-guest")
    assert (done.code, done.err) == (0, ""), done
    [down] = [place for place, link in interfaces(fleet, name).items() if link == "down"]
    assert next(iter(before)) == down, "virtrbd's was there first"

    fleet.spec("a", f"{text}interfaces: []\n")
    done = fleet.reconcile("--allow", "interrupts-guest")
    assert done.code == 0, done
    assert list(interfaces(fleet, name)) == list(before)[1:]
    assert list(interfaces(fleet, name, flags=libvirt.VIR_DOMAIN_XML_INACTIVE)) == list(before)[1:]
    assert guest.ups() == 1
    again = fleet.reconcile()
    assert (again.code, again.err) == (0, ""), again


def interfaces(fleet: Fleet, name: str, flags: int = 0) -> dict[str, str]:
    """The links of a domain's interfaces by their addresses."""
    found = {}
    for interface in ET.fromstring(fleet.domain(name).XMLDesc(flags)).iterfind("devices/interface"):
        address, link = interface.find("address"), interface.find("link")
        assert address is not None
        found[str(sorted(address.attrib.items()))] = "" if link is None else link.get("state", "")
    return found
