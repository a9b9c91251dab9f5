"""What a domain becomes on each era of libvirt and QEMU: rendered right, or refused with the reason."""

from pathlib import Path
from typing import Any

import pytest
from support.eras import REF, disk, domain, era
from support.strategies import EMPTY, HERE, WEB, done

from virtrbd.compat.adapt import fit
from virtrbd.domainxml.capabilities import parse_capabilities
from virtrbd.model.capabilities import Capabilities
from virtrbd.model.devices import Filesystem, Graphics, Interface, Memballoon, Tpm, Watchdog
from virtrbd.model.disk import Bus, Cache, Cdrom, DetectZeroes, Disk
from virtrbd.model.domain import Domain
from virtrbd.model.machine import Cpu, Firmware, NumaTune
from virtrbd.model.plan import DomainPlan
from virtrbd.model.record import replace
from virtrbd.planning.machine_type import capabilities_key, capabilities_of_interest
from virtrbd.planning.plan import make_plan
from virtrbd.planning.world import World

DATA = Path(__file__).parent.parent / "data"


@pytest.mark.parametrize(
    ("subject", "too_old", "problem", "enough"),
    [
        (disk(Bus.SATA, rotation_rate=1), "libvirt=7.2,qemu=5.2",
         "web.yaml:7: disk sda: rotation_rate needs libvirt 7.3 (this is 7.2); leave it out", "libvirt=7.3,qemu=5.2"),
        (disk(iotune={"total_iops_sec": 1, "group_name": "g"}), "libvirt=2.5,qemu=2.3",
         "web.yaml:7: disk vda: iotune.group_name needs libvirt 3.0 (this is 2.5) and QEMU 2.4 (this is 2.3); "
         "leave it out", "7.0"),
        (disk(iotune={"total_iops_sec_max_length": 1}), "libvirt=2.3,qemu=5.2",
         "web.yaml:7: disk vda: iotune's _max_length needs libvirt 2.4 (this is 2.3); leave it out", "7.0"),
        (disk(detect_zeroes=DetectZeroes.ON), "libvirt=1.3,qemu=5.2",
         "web.yaml:7: disk vda: detect_zeroes needs libvirt 2.0 (this is 1.3); leave it out", "7.0"),
        (disk(queues=4), "libvirt=3.8,qemu=5.2",
         "web.yaml:7: disk vda: queues needs libvirt 3.9 (this is 3.8); leave it out", "7.0"),
        (disk(iothreads={"1": (), "2": ()}), "libvirt=9.10,qemu=8.2",
         "web.yaml:7: disk vda: iothreads needs libvirt 10.0 (this is 9.10) and QEMU 9.0 (this is 8.2); leave it out",
         "libvirt=10.0,qemu=9.0"),
        (disk(), "libvirt=7.0,qemu=1.4",
         "web.yaml:7: disk vda: discard: unmap needs QEMU 1.5 (this is 1.4); write discard: ignore", "7.0"),
    ],
)  # fmt: skip
def test_a_disk_gets_nothing_that_its_hypervisor_has_not_yet(
    subject: Disk, too_old: str, problem: str, enough: str
) -> None:
    assert problem in fit(domain(subject), era(too_old)).problems
    assert fit(domain(subject), era(enough)).problems == ()


@pytest.mark.parametrize(
    ("stated", "too_old", "problem", "enough"),
    [
        ({}, "libvirt=3.8,qemu=5.2", "cephx as virtrbd writes it needs libvirt 3.9", "libvirt=3.9,qemu=5.2"),
        ({"firmware": Firmware(kind="uefi")}, "libvirt=5.1,qemu=5.2", "firmware: uefi needs libvirt 5.2", "7.0"),
        ({"firmware": Firmware(kind="uefi", secure_boot=True)}, "7.0", "secure_boot needs libvirt 7.2", "8.0"),
        ({"cpu": Cpu(mode="maximum")}, "7.0", "cpu mode maximum needs libvirt 7.1 (this is 7.0)", "8.0"),
        ({"watchdog": Watchdog(model="itco", action="reset")}, "9.0", "watchdog itco needs libvirt 9.1", "10.0"),
        ({"watchdog": Watchdog(model="diag288", action="reset")}, "11.6", "diag288 exists on s390 only", None),
        ({"interfaces": (Interface(mac="m", bridge="br0", vlan=(7,)),)}, "10.0",
         "interface m: vlan on a plain bridge needs libvirt 11.0 (this is 10.0)", "11.6"),
        ({"memballoon": Memballoon(free_page_reporting=True)}, "libvirt=6.8,qemu=5.0",
         "memballoon.free_page_reporting needs libvirt 6.9 (this is 6.8) and QEMU 5.1 (this is 5.0)", "7.0"),
        ({"numatune": NumaTune(nodeset="0", mode="restrictive")}, "7.0",
         "numatune.mode: restrictive needs libvirt 7.3 (this is 7.0); use strict", "8.0"),
        ({"filesystems": (Filesystem(source="/srv", target="srv"),)}, "libvirt=6.8,qemu=5.2",
         "filesystems (virtiofs) needs libvirt 6.9 (this is 6.8); leave it out", "7.0"),
        ({"vsock_cid": 0}, "libvirt=4.3,qemu=5.2", "vsock needs libvirt 4.4", "7.0"),
    ],
)  # fmt: skip
def test_a_domain_gets_nothing_that_its_hypervisor_has_not_yet(
    stated: dict[str, object], too_old: str, problem: str, enough: str | None
) -> None:
    [found] = fit(domain(**stated), era(too_old, "q35")).problems
    assert found.startswith("web.yaml:1: ")
    assert problem in found
    assert enough is None or fit(domain(**stated), era(enough, "q35")).problems == ()


def test_an_itco_watchdog_is_q35s() -> None:
    [problem] = fit(domain(watchdog=Watchdog(model="itco", action="reset")), era("11.6", "pc")).problems
    assert "watchdog itco exists on q35 only, this is pc-i440fx-10.0" in problem


@pytest.mark.parametrize(
    ("hypervisor", "problem"),
    [
        ("libvirt=5.9,qemu=5.0", ""),
        ("libvirt=5.9,qemu=4.2", "namespaces need QEMU 5.0 (this is 4.2)"),
        ("libvirt=5.10,qemu=5.0", "libvirt 5.10 to 11.5 takes ns/web.vda for the name of an image (this is 5.10)"),
        ("9.0", "libvirt 5.10 to 11.5 takes ns/web.vda"),
        ("libvirt=11.5,qemu=10.0", "use a pool without namespaces, or libvirt 11.6"),
        ("11.6", ""),
    ],
)
def test_namespaces_work_from_libvirt_11_6_on(hypervisor: str, problem: str) -> None:
    inside = replace(REF, namespace="ns")
    drive = Cdrom(target="sdb", bus=Bus.SATA, image=inside, line=9)
    found = fit(domain(disk(image=inside), cdroms=(drive,)), era(hypervisor)).problems
    assert len(found) == (2 if problem else 0)
    assert all(problem in text for text in found)
    assert [text.split(": ")[1] for text in found] == (["disk vda", "cdrom sdb"] if problem else [])


def lab(machine: str) -> Capabilities:
    return parse_capabilities((DATA / f"domcapabilities-{machine}.xml").read_text(), 9_000_000, 7_002_022)


@pytest.mark.parametrize(
    ("stated", "problem"),
    [
        ({"firmware": Firmware(kind="uefi")}, "firmware uefi is not offered by pc-q35-7.2 here; install OVMF"),
        (
            {"tpm": Tpm(model="tpm-crb", version="2.0")},
            "tpm backend emulator is not offered by pc-q35-7.2 here; install",
        ),
        ({"cpu": Cpu(mode="host-passthrough")}, "cpu mode host-passthrough is not offered by pc-q35-7.2 here; use"),
        ({"cpu": Cpu(mode="custom", model="Z80")}, "cpu model Z80 is not offered by pc-q35-7.2 here; use a value that"),
        ({"graphics": Graphics(kind="rdp")}, "graphics rdp is not offered by pc-q35-7.2 here; use another"),
        ({"video": "gop"}, "video gop is not offered by pc-q35-7.2 here; use another model"),
    ],
)
def test_what_domcapabilities_does_not_list_is_refused(stated: dict[str, object], problem: str) -> None:
    [found] = fit(domain(**stated), lab("q35")).problems
    assert found.startswith(f"web.yaml:1: web: {problem}")


@pytest.mark.parametrize(
    ("recorded", "libvirt", "qemu"), [("q35-11.3", 11_003_000, 10_000_013), ("q35-12.8", 12_008_000, 11_001_003)]
)
def test_spice_is_a_package_of_its_own_from_debian_13_on(recorded: str, libvirt: int, qemu: int) -> None:
    here = parse_capabilities((DATA / f"domcapabilities-{recorded}.xml").read_text(), libvirt, qemu)
    for stated in ({"graphics": Graphics(kind="spice")}, {"video": "qxl"}):
        [found] = fit(domain(**stated), here).problems
        assert f"is not offered by {here.machine} here; install QEMU's modules for spice (qemu-system-modules-" in found
    whole = domain(firmware=Firmware(kind="uefi"), tpm=Tpm(model="tpm-crb", version="2.0"), video="virtio")
    assert fit(whole, here).problems == ()


@pytest.mark.parametrize(
    ("firmware", "version", "states"),
    [
        (Firmware(kind="uefi", secure_boot=False), "libvirt=9.1,qemu=7.2", False),
        (Firmware(kind="uefi", secure_boot=False), "libvirt=9.2,qemu=7.2", True),
        (Firmware(kind="uefi"), "12.8", False),
        (Firmware(kind="uefi", secure_boot=True), "12.8", False),
        (Firmware(), "12.8", False),
    ],
)
def test_a_guest_without_secure_boot_keeps_its_variables(firmware: Firmware, version: str, states: bool) -> None:
    """libvirt 12.8 would take a ROM for confidential guests, where Debian's OVMF has one: it does not boot."""
    assert fit(domain(firmware=firmware), era(version, "q35")).fitted.states_variables is states


def test_what_domcapabilities_lists_is_taken() -> None:
    stated = domain(cpu=Cpu(mode="host-model"), graphics=Graphics(kind="vnc"), video="virtio")
    assert fit(stated, lab("q35")).problems == ()


def test_ide_is_where_the_machine_has_it() -> None:
    drive = Cdrom(target="hdb", bus=Bus.IDE, line=9)
    assert fit(domain(disk(Bus.IDE), cdroms=(drive,)), lab("pc")).problems == ()
    way_out = "bus ide is not offered by pc-q35-7.2 here (sata, scsi, usb, virtio); write machine: pc, or bus: sata"
    assert fit(domain(disk(Bus.IDE), cdroms=(drive,)), lab("q35")).problems == (
        f"web.yaml:7: disk hda: {way_out}",
        f"web.yaml:9: cdrom hdb: {way_out}",
    )


def planned(subject: Domain, world: World = EMPTY) -> DomainPlan:
    [found] = make_plan([replace(subject, digest=repr(subject))], world, HERE).domains
    return found


def with_disk(**changes: Any) -> Domain:
    return replace(WEB, disks=(replace(WEB.disks[0], line=4, **changes),))


def test_what_does_not_fit_holds_the_domain_back() -> None:
    found = planned(with_disk(discard_granularity_bytes=513))
    assert (found.actions, found.problems) == (
        (), ("web.yaml:4: disk vda: discard_granularity 513 is not a power of two from 512 on; write one like 64K",)
    )  # fmt: skip


def test_lints_come_with_a_new_rendering_and_never_again() -> None:
    subject = with_disk(cache=Cache.UNSAFE)
    subject = replace(subject, digest=repr(subject))
    [first] = make_plan([subject], EMPTY, HERE).domains
    assert [lint.code for lint in first.lints] == ["cache-unsafe"]
    [second] = make_plan([subject], done([subject], EMPTY), HERE).domains
    assert (second.lints, second.actions) == ((), ())


def test_lints_of_pools_reach_the_plan() -> None:
    world = replace(EMPTY, pool_config={"vms": {"rbd_cache": "false"}})
    assert [lint.code for lint in planned(WEB, world).lints] == ["cache-override"]


def test_a_domain_is_fitted_to_the_machine_that_libvirt_chose_for_it() -> None:
    [defined] = done([WEB], EMPTY).domains
    assert capabilities_key(WEB, None) == ("qemu", "q35")
    assert capabilities_key(WEB, defined) == ("qemu", "pc-q35-7.2")
    assert capabilities_key(replace(WEB, machine_upgrade=True), defined) == ("qemu", "q35")
    assert capabilities_key(replace(WEB, machine="pc"), defined) == ("qemu", "pc")
    assert capabilities_key(replace(WEB, machine="pc-q35-6.2"), defined) == ("qemu", "pc-q35-6.2")


def test_capabilities_are_asked_once_for_all_domains_of_a_machine() -> None:
    other = replace(WEB, name="other", uuid="other")
    [defined] = done([WEB], EMPTY).domains
    assert capabilities_of_interest([WEB, other], []) == (("qemu", "q35"),)
    assert capabilities_of_interest([WEB, other], [defined]) == (("qemu", "pc-q35-7.2"), ("qemu", "q35"))
    by_name = replace(WEB, uuid="another")
    assert capabilities_of_interest([by_name], [defined]) == (("qemu", "pc-q35-7.2"),)


def test_a_machine_that_libvirt_does_not_know_is_named() -> None:
    [problem] = planned(replace(WEB, machine="pc-q35-99.0")).problems
    assert problem.startswith("web.yaml:1: web: libvirt knows no machine pc-q35-99.0 with hypervisor qemu here")
    assert problem.endswith("; write another machine or hypervisor")
    gone = replace(done([WEB], EMPTY), capabilities={})
    [problem] = planned(replace(WEB, vcpus=2), gone).problems
    assert "no machine pc-q35-7.2" in problem
    assert problem.endswith("; write machine_upgrade: true, or use a QEMU that has it")
