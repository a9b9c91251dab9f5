"""kill -9 after each change in a running guest: the next run goes on from there, and the guest never notices."""

import xml.etree.ElementTree as ET

import libvirt
import pytest
import rbd
from support.fleets import Fleet
from support.guests import Guest
from support.xml import at

MIB = 1024**2
MACS = ("52:54:00:00:00:01", "52:54:00:00:00:02")
# Memory and devices go and come; a vcpu comes, and would not go: this guest lets go of none.
MUCH = """max_vcpus: 2
vcpus: {vcpus}
title: shop
disks:
  - {{clone: {golden}, iotune: {{total_iops_sec: 5000}}}}
  - size: 16M
cdroms: [{{image: vms/{iso}}}]
interfaces: [{{network: {network}, mac: "{macs[0]}"}}, {{network: {network}, mac: "{macs[1]}"}}]
"""
LITTLE = """max_vcpus: 2
vcpus: {vcpus}
current_memory: 112M
description: sells
disks:
  - {{clone: {golden}, iotune: {{total_iops_sec: 4000}}}}
cdroms: [{{}}]
interfaces: [{{network: {network}, mac: "{macs[0]}", link: down}}]
"""


@pytest.mark.timeout(240)
def test_killed_after_each_change_of_a_guest_and_run_again(fleet: Fleet, golden: str, network: str) -> None:
    iso = f"{fleet.name}a.iso"
    rbd.RBD().create(fleet.vms, iso, MIB)
    words: dict[str, object] = {"vcpus": 1, "golden": golden, "iso": iso, "network": network, "macs": MACS}
    name = fleet.spec("a", "state: running\n" + MUCH.format(**words))
    spec = f"specs/{name}.yaml"
    fleet.converges(spec)
    guest = Guest(name=name, bus="virtio", env=fleet.env)
    guest.open_console()
    guest.await_up(1, 120)
    with rbd.Image(fleet.vms, f"{name}.vdb") as image:
        image_id = image.id()
    uuid, pid, before = fleet.domain(name).UUIDString(), fleet.qemu_pid(name), live(fleet, name)
    allowed = ("--allow", "interrupts-guest,loses-data", spec)
    little = {
        "vcpus": 2, "memory": 112, "titles": (None, "sells"), "iops": 4000, "links": {MACS[0]: "down"},
        "disks": {"vda": f"vms/{name}.vda", "sda": None},
    }  # fmt: skip
    much = before | {"vcpus": 2}
    words["vcpus"] = 2
    for text, calls, wanted in (
        (LITTLE, {"virDomain.detachDeviceFlags", "virDomain.setVcpusFlags"}, little),
        (MUCH, {"virDomain.attachDeviceFlags"}, much),
    ):
        fleet.spec("a", "state: running\n" + text.format(**words))
        runs = fleet.reconcile_killed(*allowed)
        calls |= {
            f"virDomain.{call}" for call in ("updateDeviceFlags", "setBlockIoTune", "setMemoryFlags", "setMetadata")
        }
        assert calls <= {steps[-1] for steps in runs[:-1]}, "a run was killed after each of them"
        fleet.is_in_sync(*allowed)
        assert fleet.run("plan", spec).out == "1 domain, 0 actions\n"
        assert live(fleet, name) == wanted
        assert (fleet.domain(name).UUIDString(), fleet.qemu_pid(name)) == (uuid, pid), "the guest ran on"
    with rbd.Image(fleet.vms, f"{name}.vdb") as image:
        assert image.id() == image_id, "the disk that came again is the one that went"
    assert guest.ups() == 1, "no boot but the first"


def live(fleet: Fleet, name: str) -> dict[str, object]:
    """What of the running guest the specs above change."""
    domain, root = fleet.domain(name), ET.fromstring(fleet.domain(name).XMLDesc())
    return {
        "vcpus": domain.vcpusFlags(libvirt.VIR_DOMAIN_AFFECT_LIVE),
        "memory": domain.info()[2] // 1024,
        "titles": (root.findtext("title"), root.findtext("description")),
        "iops": domain.blockIoTune("vda")["total_iops_sec"],
        "disks": {
            at(disk, "target").get("dev"): getattr(disk.find("source"), "attrib", {}).get("name")
            for disk in root.iterfind("devices/disk")
        },
        "links": {
            at(interface, "mac").get("address"): getattr(interface.find("link"), "attrib", {}).get("state", "")
            for interface in root.iterfind("devices/interface")
        },
    }
