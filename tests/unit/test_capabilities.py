"""What the hypervisor at hand can do: read from libvirt's domcapabilities, or written by hand."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtrbd.compat.assumed import capabilities_by_hand
from virtrbd.domainxml.capabilities import parse_capabilities
from virtrbd.errors import UsageError
from virtrbd.model.capabilities import Capabilities, parse_version

# Recorded from libvirt 9.0.0 with QEMU 7.2.22 (Debian 12), lists of CPU models and features shortened.
DATA = Path(__file__).parent.parent / "data"


def recorded(machine: str) -> Capabilities:
    return parse_capabilities((DATA / f"domcapabilities-{machine}.xml").read_text(), 9_000_000, 7_002_022)


def test_versions_and_machine_are_those_of_libvirt() -> None:
    found = recorded("q35")
    assert (found.libvirt, found.qemu, found.machine) == ((9, 0, 0), (7, 2, 22), "pc-q35-7.2")
    assert found.machine_version == (7, 2, 0)


@pytest.mark.parametrize(
    ("enum", "value", "offered"),
    [
        ("disk.bus", "sata", True),
        ("disk.bus", "ide", False),
        ("os.firmware", "efi", False),
        ("os.loader.secure", "no", True),
        ("os.loader.secure", "yes", False),
        ("graphics.type", "vnc", True),
        ("graphics.type", "rdp", False),
        ("video.modelType", "bochs", True),
        ("tpm.model", "tpm-crb", True),
        ("tpm.backendModel", "emulator", False),
        ("rng.model", "virtio", True),
        ("cpu.mode", "host-model", True),
        ("cpu.mode", "host-passthrough", False),
        ("cpu.custom.model", "Westmere", True),
        ("cpu.custom.model", "Made-Up", False),
        ("cpu.maximum.maximumMigratable", "on", True),
        ("hyperv.features", "spinlocks", True),
        # Elements without enums, that are not there, and what nobody told.
        ("sev.anything", "x", False),
        ("launchSecurity.sectype", "sev", True),
        ("tpm.backendVersion", "2.0", True),
    ],
)
def test_every_enum_is_an_offer_by_its_path(enum: str, value: str, offered: bool) -> None:
    assert recorded("q35").offers_value(enum, value) is offered


def test_ide_is_on_pc_only() -> None:
    assert recorded("pc").offers["disk.bus"] - recorded("q35").offers["disk.bus"] == {"ide"}


def test_a_section_that_is_not_supported_offers_nothing_of_its_own() -> None:
    xml = "<domainCapabilities><os supported='no'/><devices><tpm supported='no'/></devices></domainCapabilities>"
    found = parse_capabilities(xml, 7_000_000, 5_002_000)
    assert found.offers == {"os": frozenset(), "tpm": frozenset()}
    assert not found.offers_value("tpm.model", "tpm-crb")
    assert not found.offers_value("os.loader.secure", "yes")
    assert found.offers_value("disk.bus", "ide"), "what it does not mention is unknown, not refused"


@pytest.mark.parametrize(
    ("text", "default", "libvirt", "qemu", "machine"),
    [
        ("libvirt=11.6,qemu=10.0,machine=q35", "pc", "11.6", "10.0", "pc-q35-10.0"),
        ("libvirt=7.0, qemu=5.2", "pc", "7.0", "5.2", "pc-i440fx-5.2"),
        ("qemu=7.2.22", "q35", "11.3", "7.2.22", "pc-q35-7.2"),
        ("machine=pc-i440fx-3.1,qemu=5.2", "q35", "11.3", "5.2", "pc-i440fx-3.1"),
        ("", "q35", "11.3", "10.0", "pc-q35-10.0"),
        ("qemu=1.0", "pc", "11.3", "1.0", "pc-1.0"),
        ("qemu=1.0", "q35", "11.3", "1.0", "pc-1.0"),
        ("machine=microvm", "q35", "11.3", "10.0", "microvm"),
    ],
)
def test_by_hand_each_part_may_be_left_out(text: str, default: str, libvirt: str, qemu: str, machine: str) -> None:
    found = capabilities_by_hand(text, default)
    assert (found.libvirt, found.qemu, found.machine) == (parse_version(libvirt), parse_version(qemu), machine)


@pytest.mark.parametrize(
    ("machine", "has_ide"), [("pc", True), ("pc-i440fx-3.1", True), ("q35", False), ("pc-q35-6.2", False)]
)
def test_by_hand_buses_follow_the_machine(machine: str, has_ide: bool) -> None:
    found = capabilities_by_hand("", machine)
    assert found.offers_value("disk.bus", "ide") is has_ide
    assert found.offers_value("disk.bus", "virtio")


def test_by_hand_nothing_is_known_of_a_strange_machine_and_of_the_rest() -> None:
    assert capabilities_by_hand("machine=microvm", "q35").offers == {}
    assert capabilities_by_hand("", "q35").offers.keys() == {"disk.bus"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("libvrit=9.0", "'libvrit=9.0' does not name libvirt, qemu or machine; write it like libvirt="),
        ("qemu", "'qemu' does not name"),
        ("qemu=", "'qemu=' does not name"),
        ("qemu=ten", "qemu: 'ten' is not a version; write it like"),
        ("qemu=8.2,qemu=9.0", "qemu is given twice"),
        ("qemu=7.2,machine=pc-q35-8.0", "machine pc-q35-8.0 is newer than QEMU 7.2; write an older one, or qemu=8.0"),
        ("qemu=1.3,machine=q35", "q35 came with QEMU 1.4, this is 1.3; write machine=pc"),
    ],
)
def test_by_hand_what_makes_no_sense_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        capabilities_by_hand(text, "q35")
    assert message in str(caught.value)


versions = st.tuples(st.integers(2, 30), st.integers(0, 20))


@given(libvirt=versions, qemu=versions, machine=st.sampled_from(["pc", "q35"]))
def test_by_hand_an_alias_is_always_as_new_as_its_qemu(
    libvirt: tuple[int, int], qemu: tuple[int, int], machine: str
) -> None:
    text = f"libvirt={libvirt[0]}.{libvirt[1]},qemu={qemu[0]}.{qemu[1]},machine={machine}"
    found = capabilities_by_hand(text, "isapc")
    assert found.machine_version == found.qemu == (*qemu, 0)
    assert capabilities_by_hand(text.replace(f"machine={machine}", ""), found.machine) == found


@given(st.text(max_size=40))
def test_by_hand_any_text_is_understood_or_refused(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert capabilities_by_hand(text, "q35").machine
