"""Discard granularity on each era of libvirt and QEMU: told in the way it has, or refused with the reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.eras import KIB, REF, TARGETS, codes, disk, domain, era, granular, ways

from virtrbd.compat.adapt import fit
from virtrbd.model.capabilities import Capabilities
from virtrbd.model.disk import Bus, Cache, Discard
from virtrbd.model.image import Image, ImageRef
from virtrbd.model.lint import all_codes
from virtrbd.model.record import replace


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


@pytest.mark.parametrize(
    ("hypervisor", "machine", "bus", "size_bytes", "reason"),
    [
        ("9.0", "pc", Bus.IDE, 4096, "discard_granularity 4096: ide disks have 512 only in QEMU; leave it out, or use"),
        ("11.6", "q35", Bus.SATA, 65536, "sata disks have 512 only in QEMU"),
        ("11.6", "pc", Bus.VIRTIO, 513, "is not a power of two from 512 on; write one like 64K"),
        ("11.6", "pc", Bus.SCSI, 3 * 512, "is not a power of two from 512 on"),
        ("11.6", "pc", Bus.SCSI, 256, "is not a power of two from 512 on"),
        ("11.6", "pc", Bus.SCSI, 8 * KIB**2, "is larger than an object of the image (4 MiB)"),
        ("11.6", "pc", Bus.VIRTIO, 0, "does not stop a virtio guest from discarding; write discard: ignore"),
        ("11.6", "pc-i440fx-5.2", Bus.VIRTIO, 65536, "virtio announces it from QEMU 6.0 with a machine of 6.0 on"),
        ("7.0", "pc", Bus.VIRTIO, 65536, "virtio announces it from QEMU 6.0 with a machine of 6.0 on"),
        ("10.0", "pc", Bus.USB, 65536, "usb announces it from QEMU 9.0 on"),
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
