"""What a domain becomes on each era of libvirt and QEMU: rendered right, or refused with the reason."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import EMPTY, HERE, WEB, done

from virtrbd.domainxml.capabilities import parse_capabilities
from virtrbd.fitting.by_hand import capabilities_by_hand
from virtrbd.fitting.explain import explain_cache
from virtrbd.fitting.fit import Fit, fit
from virtrbd.model.actual import Actual
from virtrbd.model.capabilities import Capabilities
from virtrbd.model.domain import (
    Bus,
    Cache,
    Cdrom,
    Cpu,
    DetectZeroes,
    Discard,
    Disk,
    Domain,
    Firmware,
    Graphics,
    Interface,
    Tpm,
    Watchdog,
)
from virtrbd.model.image import Image, ImageRef
from virtrbd.model.lint import all_codes
from virtrbd.model.plan import DomainPlan
from virtrbd.planning.machines import capabilities_key, capabilities_of_interest
from virtrbd.planning.plan import make_plan

DATA = Path(__file__).parent.parent / "data"
REF = ImageRef(pool="vms", name="web.vda")
TARGETS = {Bus.VIRTIO: "vda", Bus.SCSI: "sda", Bus.SATA: "sda", Bus.IDE: "hda", Bus.USB: "sda"}
KIB = 1024

ERAS = {
    "7.0": "libvirt=7.0,qemu=5.2",
    "7.10": "libvirt=7.10,qemu=6.2",
    "8.0": "libvirt=8.0,qemu=6.2",
    "8.2": "libvirt=8.2,qemu=6.2",
    "8.4": "libvirt=8.4,qemu=7.0",
    "8.5": "libvirt=8.5,qemu=7.0",
    "9.0": "libvirt=9.0,qemu=7.2",
    "9.6": "libvirt=9.6,qemu=8.1",
    "9.7": "libvirt=9.7,qemu=8.1",
    "10.0": "libvirt=10.0,qemu=8.2",
    "11.6": "libvirt=11.6,qemu=10.0",
}


def era(name: str, machine: str = "pc") -> Capabilities:
    return capabilities_by_hand(f"{ERAS.get(name, name)},machine={machine}", "pc")


def disk(bus: Bus = Bus.VIRTIO, **stated: object) -> Disk:
    return Disk(**{"target": TARGETS[bus], "bus": bus, "image": REF, "line": 7, **stated})  # type: ignore[arg-type]


def granular(bus: Bus, size_bytes: int | None, **stated: object) -> Disk:
    return disk(bus, discard_granularity_bytes=size_bytes, **stated)


def domain(*disks: Disk, **stated: object) -> Domain:
    return Domain(**{  # type: ignore[arg-type]
        "name": "web", "uuid": "u", "memory_bytes": 2**30, "vcpus": 1, "machine": "pc", "hypervisor": "kvm",
        "host": "kvm-1", "disks": disks or (disk(),), "origin": "web.yaml:1", **stated,
    })  # fmt: skip


def ways(found: Fit) -> dict[str, dict[str, int]]:
    named = {"blockio": found.fitted.blockio, "override": found.fitted.override, "set": found.fitted.set_device}
    return {way: dict(told) for way, told in named.items() if told}


def codes(found: Fit) -> list[str]:
    return [lint.code for lint in found.lints]


# ---- granularity: what is told


@pytest.mark.parametrize(
    ("hypervisor", "machine", "bus", "told"),
    [
        # From 9.7 the guest is told librbd's own grain; before, nobody is tainted unasked.
        ("9.6", "pc", Bus.VIRTIO, {}),
        ("9.7", "pc", Bus.VIRTIO, {"blockio": {"vda": 65536}}),
        ("11.6", "q35", Bus.VIRTIO, {"blockio": {"vda": 65536}}),
        ("9.7", "pc", Bus.SCSI, {"blockio": {"sda": 65536}}),
        ("9.0", "pc", Bus.SCSI, {}),
        # An old machine hides it from a virtio guest (hw_compat_5_2), not from a SCSI one.
        ("9.7", "pc-i440fx-5.2", Bus.VIRTIO, {}),
        ("9.7", "pc-i440fx-6.0", Bus.VIRTIO, {"blockio": {"vda": 65536}}),
        ("9.7", "pc-i440fx-3.1", Bus.SCSI, {"blockio": {"sda": 65536}}),
        # IDE and SATA have 512, and nothing else.
        ("11.6", "pc", Bus.IDE, {}),
        ("11.6", "q35", Bus.SATA, {}),
        ("11.6", "pc", Bus.USB, {}),
    ],
)
def test_unstated_granularity(hypervisor: str, machine: str, bus: Bus, told: dict[str, dict[str, int]]) -> None:
    found = fit(domain(disk(bus)), era(hypervisor, machine))
    assert (ways(found), found.problems) == (told, ())


def test_nothing_is_told_of_a_disk_that_discards_nothing() -> None:
    assert ways(fit(domain(disk(discard=Discard.IGNORE)), era("11.6"))) == {}
    assert ways(fit(domain(disk(readonly=True)), era("11.6"))) == {}


@pytest.mark.parametrize(
    ("hypervisor", "way", "dropped"),
    [
        ("7.0", "set", ""),
        ("7.10", "set", "device.json"),
        ("libvirt=7.10,qemu=6.1", "set", ""),
        ("8.0", "set", ""),
        ("8.2", "set", "device.json+hotplug"),
        ("8.4", "set", "device.json+hotplug"),
        ("libvirt=8.4,qemu=6.1", "set", ""),
        ("8.5", "override", ""),
        ("9.0", "override", ""),
        ("9.6", "override", ""),
        ("9.7", "blockio", ""),
        ("10.0", "blockio", ""),
        ("11.6", "blockio", ""),
    ],
)
def test_a_stated_granularity_takes_the_way_that_this_libvirt_has(hypervisor: str, way: str, dropped: str) -> None:
    found = fit(domain(granular(Bus.SCSI, 128 * KIB)), era(hypervisor))
    assert ways(found) == {way: {"sda": 128 * KIB}}
    assert found.fitted.drops_json_device is bool(dropped)
    assert not dropped or found.fitted.json_device_capability == dropped
    assert ("granularity-taints" in codes(found)) is (way != "blockio")


@pytest.mark.parametrize(
    ("bus", "default"), [(Bus.IDE, 512), (Bus.SATA, 512), (Bus.VIRTIO, 512), (Bus.SCSI, 4096), (Bus.USB, 4096)]
)
def test_nothing_is_told_that_the_device_has_anyway(bus: Bus, default: int) -> None:
    for hypervisor in ("7.0", "9.0", "11.6"):
        found = fit(domain(granular(bus, default)), era(hypervisor))
        assert (ways(found), found.problems) == ({}, ())


@pytest.mark.parametrize(("machine", "told"), [("pc-i440fx-1.5", {}), ("pc-i440fx-1.4", {"hda": 512})])
def test_ide_needs_its_512_only_where_the_machine_has_none(machine: str, told: dict[str, int]) -> None:
    found = fit(domain(granular(Bus.IDE, 512)), era("9.0", machine))
    assert found.fitted.override == told
    assert codes(found) == (["granularity-taints"] if told else ["granularity-ide"])
    unstated = fit(domain(disk(Bus.IDE)), era("9.0", machine))
    assert (ways(unstated), codes(unstated)) == ({}, ["discard-not-offered"] if told else [])


@pytest.mark.parametrize(
    ("hypervisor", "way"), [("7.0", "set"), ("9.0", "override"), ("libvirt=11.5,qemu=10.0", "override"),
                            ("11.6", "blockio")]
)  # fmt: skip
def test_zero_is_blockios_from_11_6_on(hypervisor: str, way: str) -> None:
    assert ways(fit(domain(granular(Bus.SCSI, 0)), era(hypervisor))) == {way: {"sda": 0}}


# ---- granularity: what is refused


@pytest.mark.parametrize(
    ("hypervisor", "machine", "bus", "size_bytes", "reason"),
    [
        ("9.0", "pc", Bus.IDE, 4096, "discard_granularity 4096: QEMU takes 512 only on ide; leave it out, or use"),
        ("11.6", "q35", Bus.SATA, 65536, "QEMU takes 512 only on sata"),
        ("11.6", "pc", Bus.VIRTIO, 513, "is no power of two from 512; write one like 64K"),
        ("11.6", "pc", Bus.SCSI, 3 * 512, "is no power of two from 512"),
        ("11.6", "pc", Bus.SCSI, 256, "is no power of two from 512"),
        ("11.6", "pc", Bus.SCSI, 8 * KIB**2, "is more than an object of the image (4 MiB)"),
        ("11.6", "pc", Bus.VIRTIO, 0, "keeps no virtio guest from discarding; write discard: ignore"),
        ("11.6", "pc-i440fx-5.2", Bus.VIRTIO, 65536, "virtio tells the guest from QEMU 6.0 with a machine of 6.0 on"),
        ("7.0", "pc", Bus.VIRTIO, 65536, "virtio tells the guest from QEMU 6.0 with a machine of 6.0 on"),
        ("10.0", "pc", Bus.USB, 65536, "usb tells the guest from QEMU 9.0 on"),
    ],
)
def test_a_granularity_that_does_not_work_is_refused(
    hypervisor: str, machine: str, bus: Bus, size_bytes: int, reason: str
) -> None:
    [problem] = fit(domain(granular(bus, size_bytes)), era(hypervisor, machine)).problems
    assert problem.startswith(f"web.yaml:7: disk {TARGETS[bus]}: ")
    assert reason in problem


def test_usb_is_told_from_qemu_9_on() -> None:
    found = fit(domain(granular(Bus.USB, 65536)), era("11.6"))
    assert (ways(found), found.problems) == ({"blockio": {"sda": 65536}}, ())


def test_the_images_own_object_size_counts_and_a_clones_is_its_parents() -> None:
    parent = ImageRef(pool="golden", name="debian", snapshot="v1")
    big = {REF: Image(ref=REF, image_id="1", size_bytes=0, created_at=0, object_bytes=16 * KIB**2)}
    small = {parent: Image(ref=parent, image_id="2", size_bytes=0, created_at=0, object_bytes=32 * KIB)}
    stated, cloned = domain(granular(Bus.SCSI, 8 * KIB**2)), domain(disk(clone=parent))
    assert fit(stated, era("11.6")).problems
    assert not fit(stated, era("11.6"), big).problems
    assert fit(cloned, era("11.6"), {REF: None, **small}).fitted.blockio == {"vda": 32 * KIB}


eras = st.builds(
    Capabilities,
    libvirt=st.sampled_from([(major, minor, 0) for major in range(4, 13) for minor in (0, 2, 5, 7, 9, 10)]),
    qemu=st.sampled_from([(major, minor, 0) for major in range(2, 11) for minor in (0, 2)]),
    machine=st.sampled_from(["pc-i440fx-1.4", "pc-i440fx-2.0", "pc-q35-3.1", "pc-q35-5.2", "pc-q35-6.0", "isapc"]),
)
granularities = st.none() | st.integers(0, 24).map(lambda power: 2**power) | st.integers(0, 10**7)


@given(capabilities=eras, bus=st.sampled_from(Bus), size_bytes=granularities, discard=st.sampled_from(Discard))
def test_a_granularity_is_refused_or_told_in_one_way_and_as_it_was_stated(
    capabilities: Capabilities, bus: Bus, size_bytes: int | None, discard: Discard
) -> None:
    subject = granular(bus, size_bytes, discard=discard)
    found = fit(domain(subject), capabilities)
    told = [value for way in ways(found).values() for value in way.values()]
    assert len(told) <= 1
    if told:
        assert told[0] in (size_bytes, 65536)
        assert size_bytes in (None, told[0])
        assert bus not in (Bus.IDE, Bus.SATA) or told[0] in (0, 512), "QEMU would not start"
        assert told[0] % 512 == 0
        assert not found.fitted.blockio or capabilities.libvirt >= (9, 7, 0)
        assert not found.fitted.override or capabilities.libvirt >= (8, 5, 0)
    if size_bytes is None:
        assert not found.fitted.override, "nobody is tainted unasked"
        assert not found.fitted.set_device


@given(capabilities=eras, bus=st.sampled_from(Bus), size_bytes=granularities, cache=st.sampled_from(Cache))
def test_every_problem_and_lint_says_where_and_what(
    capabilities: Capabilities, bus: Bus, size_bytes: int | None, cache: Cache
) -> None:
    found = fit(domain(granular(bus, size_bytes, cache=cache)), capabilities)
    for line in (*found.problems, *map(str, found.lints)):
        assert line.startswith((f"web.yaml:7: disk {TARGETS[bus]}: ", "web.yaml:1: web: "))
        assert ";" in line or ":" in line.split(": ", 2)[2]
    assert set(codes(found)) <= set(all_codes())


@given(capabilities=eras, bus=st.sampled_from(Bus), size_bytes=granularities, data=st.data())
def test_silence_takes_away_that_lint_and_nothing_else(
    capabilities: Capabilities, bus: Bus, size_bytes: int | None, data: st.DataObject
) -> None:
    loud = domain(granular(bus, size_bytes, cache=Cache.UNSAFE), granular(Bus.SCSI, 4096, target="sdz"))
    heard = fit(loud, capabilities)
    lint = data.draw(st.sampled_from(heard.lints))
    word = data.draw(st.sampled_from([lint.code, f"{lint.code}:{lint.subject.split()[-1]}"]))
    quiet = fit(replace(loud, silence=(word,)), capabilities)
    left = [
        other for other in heard.lints if other.code != lint.code or (":" in word and other.subject != lint.subject)
    ]
    assert list(quiet.lints) == left
    assert (quiet.problems, quiet.fitted.blockio) == (heard.problems, heard.fitted.blockio)


# ---- what needs a newer hypervisor


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
        ({"watchdog": Watchdog(model="diag288", action="reset")}, "11.6", "diag288 is s390's; use i6300esb", None),
        ({"interfaces": (Interface(mac="m", bridge="br0", vlan=(7,)),)}, "10.0",
         "interface m: vlan on a plain bridge needs libvirt 11.0 (this is 10.0)", "11.6"),
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
    assert "watchdog itco is q35's, here is pc-i440fx-10.0" in problem


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


# ---- what is not offered


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
        ({"cpu": Cpu(mode="custom", model="Z80")}, "cpu model Z80 is not offered by pc-q35-7.2 here; use one that"),
        ({"graphics": Graphics(kind="rdp")}, "graphics rdp is not offered by pc-q35-7.2 here; use another"),
        ({"video": "gop"}, "video gop is not offered by pc-q35-7.2 here; use another model"),
    ],
)
def test_what_domcapabilities_does_not_list_is_refused(stated: dict[str, object], problem: str) -> None:
    [found] = fit(domain(**stated), lab("q35")).problems
    assert found.startswith(f"web.yaml:1: web: {problem}")


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


# ---- lints


@pytest.mark.parametrize(
    ("subject", "hypervisor", "machine", "expected"),
    [
        (disk(), "11.6", "q35", []),
        (disk(Bus.IDE), "11.6", "pc", []),
        (disk(cache=Cache.NONE), "9.0", "pc", ["cache-none"]),
        (disk(cache=Cache.DIRECTSYNC), "9.0", "pc", ["cache-none"]),
        (disk(cache=Cache.NONE, shareable=True), "9.0", "pc", []),
        (disk(cache=Cache.UNSAFE), "9.0", "pc", ["cache-unsafe"]),
        (disk(cache=Cache.WRITETHROUGH), "9.0", "pc", ["cache-writethrough"]),
        (disk(Bus.USB, cache=Cache.WRITETHROUGH), "10.0", "pc", ["cache-writethrough", "cache-usb"]),
        (disk(Bus.USB, cache=Cache.WRITETHROUGH), "11.6", "pc", ["cache-writethrough"]),
        (disk(Bus.USB, cache=Cache.WRITEBACK), "10.0", "pc", []),
        (disk(ceph_config="/etc/ceph/x.conf"), "9.0", "pc", ["ceph-config-cache"]),
        (disk(detect_zeroes=DetectZeroes.UNMAP), "9.0", "pc", []),
        (disk(detect_zeroes=DetectZeroes.UNMAP, discard=Discard.IGNORE), "9.0", "pc",
         ["detect-zeroes-on", "discard-ignored"]),
        (disk(discard=Discard.IGNORE), "9.0", "pc-i440fx-4.0", ["discard-ignored"]),
        (disk(discard=Discard.IGNORE, readonly=True), "9.0", "pc", []),
        (disk(), "9.0", "pc-i440fx-3.1", ["virtio-discard"]),
        (disk(), "9.0", "pc-i440fx-4.0", []),
        (disk(Bus.SCSI), "9.0", "pc-i440fx-3.1", []),
        (disk(Bus.SCSI), "9.0", "pc-i440fx-1.4", ["discard-not-offered"]),
        (granular(Bus.IDE, 512), "9.0", "pc", ["granularity-ide"]),
        (granular(Bus.SATA, 512, discard=Discard.IGNORE), "9.0", "pc", ["discard-ignored", "granularity-unused"]),
        (granular(Bus.SATA, 65536), "9.0", "pc", []),
        (granular(Bus.SCSI, 4096), "9.0", "pc", ["granularity-below-floor"]),
        (granular(Bus.VIRTIO, 32768), "11.6", "pc", ["granularity-below-floor"]),
        (granular(Bus.VIRTIO, 65536), "11.6", "pc", []),
        (granular(Bus.VIRTIO, 65536), "9.0", "pc", ["granularity-taints"]),
    ],
)  # fmt: skip
def test_lints(subject: Disk, hypervisor: str, machine: str, expected: list[str]) -> None:
    found = fit(domain(subject), era(hypervisor, machine))
    assert codes(found) == expected
    assert {(lint.where, lint.subject) for lint in found.lints} <= {("web.yaml:7", f"disk {subject.target}")}


def test_a_domain_without_acpi_is_told_what_it_misses() -> None:
    [lint] = fit(domain(features={"acpi": False}), era("9.0")).lints
    assert (lint.code, lint.where, lint.subject) == ("no-acpi", "web.yaml:1", "domain web")


def with_config(**config: str) -> dict[ImageRef, Image | None]:
    return {REF: Image(ref=REF, image_id="1", size_bytes=0, created_at=0, config=config)}


@pytest.mark.parametrize(
    ("cache", "image", "pool", "said"),
    [
        (
            Cache.WRITEBACK,
            {"rbd_cache": "false"},
            {},
            "conf_rbd_cache = false on image vms/web.vda beats cache writeback",
        ),
        (Cache.WRITEBACK, {}, {"rbd_cache": "0"}, "conf_rbd_cache = 0 on pool vms beats cache writeback"),
        (Cache.NONE, {"rbd_cache": "True"}, {}, "conf_rbd_cache = True on image vms/web.vda beats cache none"),
        # The image's own value is stronger than the pool's.
        (Cache.WRITEBACK, {"rbd_cache": "true"}, {"rbd_cache": "false"}, ""),
        (Cache.NONE, {"rbd_cache": "true"}, {"rbd_cache": "false"}, "on image vms/web.vda"),
        (Cache.WRITEBACK, {"rbd_cache_max_dirty": "0"}, {}, "conf_rbd_cache_max_dirty = 0"),
        (Cache.WRITEBACK, {"rbd_cache_policy": "writethrough"}, {}, "conf_rbd_cache_policy = writethrough"),
        # What tunes the cache leaves the mode as it is.
        (Cache.WRITEBACK, {"rbd_cache_policy": "writeback", "rbd_cache_size": "1"}, {"rbd_cache": "true"}, ""),
        (Cache.WRITETHROUGH, {"rbd_cache_max_dirty": "0"}, {}, ""),
        (Cache.WRITEBACK, {"rbd_op_threads": "2"}, {"rbd_qos_iops_limit": "0"}, ""),
    ],
)
def test_what_ceph_itself_overrides_is_told(
    cache: Cache, image: dict[str, str], pool: dict[str, str], said: str
) -> None:
    found = fit(
        domain(disk(cache=cache)), era("9.0"), with_config(**image), {"vms": pool, "other": {"rbd_cache": "no"}}
    )
    lints = [lint.text for lint in found.lints if lint.code == "cache-override"]
    assert len(lints) == bool(said)
    assert all(said in text for text in lints)


# ---- explained


@pytest.mark.parametrize(
    ("cache", "qemu", "said"),
    [
        (Cache.WRITEBACK, "10.0", ["librbd's cache is on, as write-around", "the guest flushes"]),
        (Cache.DEFAULT, "10.0", ["librbd's cache is on", "the guest flushes"]),
        (Cache.NONE, "7.2", ["librbd's cache is off", "the guest flushes"]),
        (Cache.DIRECTSYNC, "7.2", ["librbd's cache is off", "QEMU flushes after each write"]),
        (Cache.WRITETHROUGH, "7.2", ["librbd's cache is on", "QEMU flushes after each write"]),
        (Cache.WRITETHROUGH, "1.2", ["rbd_cache_max_dirty = 0"]),
        (Cache.WRITETHROUGH, "1.3", ["librbd's cache is on, as write-around"]),
        (Cache.UNSAFE, "7.2", ["nobody flushes", "rbd_cache_writethrough_until_flush is true"]),
        (Cache.WRITEBACK, "1.1", ["it has no effect on librbd"]),
        (Cache.WRITEBACK, "2.3", ["an rbd_cache in ceph.conf wins over it"]),
        (Cache.WRITEBACK, "2.4", ["ceph.conf's own rbd_cache does not count, conf_rbd_cache of image or pool beats"]),
    ],
)
def test_what_librbd_does_is_explained(cache: Cache, qemu: str, said: list[str]) -> None:
    text = explain_cache(disk(cache=cache), capabilities_by_hand(f"qemu={qemu}", "pc"))
    assert text.startswith(f"cache {cache} on QEMU {qemu}: ")
    assert [words for words in said if words not in text] == []


def test_a_usb_disk_is_not_said_to_be_flushed_where_it_is_not() -> None:
    subject = disk(Bus.USB, cache=Cache.WRITETHROUGH)
    assert "it is not QEMU that flushes after each write" in explain_cache(subject, era("10.0"))
    assert "; QEMU flushes after each write" in explain_cache(subject, era("11.6"))


# ---- within a plan


def planned(subject: Domain, world: Actual = EMPTY) -> DomainPlan:
    [found] = make_plan([replace(subject, digest=repr(subject))], world, HERE).domains
    return found


def with_disk(**changes: object) -> Domain:
    return replace(WEB, disks=(replace(WEB.disks[0], line=4, **changes),))  # type: ignore[arg-type]


def test_what_does_not_fit_holds_the_domain_back() -> None:
    found = planned(with_disk(discard_granularity_bytes=513))
    assert (found.actions, found.problems) == (
        (), ("web.yaml:4: disk vda: discard_granularity 513 is no power of two from 512; write one like 64K",)
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
