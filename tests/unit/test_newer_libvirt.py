"""What a newer libvirt adds to a definition or chooses for it by itself: q35's watchdog, a loader, a TPM's profile."""

import pytest
from lxml import etree
from support.xml import at, parent_of

from virtrbd.adoption.unexpressed import unexpressed_xml
from virtrbd.domainxml.document import Definition, Edited, LiveDocument, Rendered
from virtrbd.domainxml.drift import foreign_changes
from virtrbd.domainxml.edit import Edit, edit_definition, with_mark
from virtrbd.domainxml.live import live_edit
from virtrbd.domainxml.managed_paths import stated_paths
from virtrbd.domainxml.own_devices import live_mark, rendered_places, settled
from virtrbd.domainxml.render import render
from virtrbd.model.cluster import ClusterFacts, Monitor
from virtrbd.model.devices import Tpm, Watchdog
from virtrbd.model.disk import Bus, Disk
from virtrbd.model.domain import Domain
from virtrbd.model.fitted import Fitted
from virtrbd.model.image import ImageRef
from virtrbd.model.machine import Firmware
from virtrbd.model.mark import DomainMark
from virtrbd.model.record import replace

CLUSTER = ClusterFacts(fsid="f", monitors=(Monitor(address="10.0.0.1"),), user="virtrbd")
SECRET = "11111111-1111-1111-1111-111111111111"
DOMAIN = Domain(
    name="web-01",
    uuid="22222222-2222-2222-2222-222222222222",
    memory_bytes=1024**3,
    vcpus=2,
    machine="q35",
    hypervisor="qemu",
    host="kvm-1",
    disks=(Disk(target="vda", bus=Bus.VIRTIO, image=ImageRef(pool="vms", name="web-01.vda")),),
)
PLACE = "<address type='pci' domain='0x0000' bus='0x07' slot='0x01' function='0x0'/>"
I6300 = f"<watchdog model='i6300esb' action='{{}}'>{PLACE}</watchdog>"
ITCO = "<watchdog model='itco' action='{}'/>"


def rendered(watchdog: str = "", machine: str = "q35") -> str:
    model, _, action = watchdog.partition(" ")
    stated = Watchdog(model=model, action=action or "reset") if model else None
    return render(Fitted(domain=replace(DOMAIN, machine=machine, watchdog=stated)), CLUSTER, SECRET).text


def mark_for(xml: str) -> DomainMark:
    return DomainMark(
        uuid=DOMAIN.uuid,
        host="h",
        inputs="i",
        stated=stated_paths(Rendered(xml)),
        places=rendered_places(Rendered(xml)),
    )


def definition(stated: str, *watchdogs: str) -> str:
    """What libvirt gave back for a spec with this watchdog, with its mark settled."""
    xml = rendered(stated)
    root = etree.fromstring(xml)
    at(root, "os/type").set("machine", "pc-q35-10.0")
    for watchdog in root.findall("devices/watchdog"):
        at(root, "devices").remove(watchdog)
    at(root, "devices").extend(etree.fromstring(each) for each in watchdogs)
    held = etree.tostring(root, encoding="unicode")
    return with_mark(Rendered(held), settled(Definition(held), mark_for(xml))).text


def edited(definition: str, wanted: str) -> Edit:
    return edit_definition(Definition(definition), Rendered(wanted), Definition(definition).mark, mark_for(wanted))


def watchdogs(xml: str) -> list[tuple[str | None, str | None]]:
    return [(each.get("model"), each.get("action")) for each in etree.fromstring(xml).findall("devices/watchdog")]


# libvirt refuses two of itco, and two actions; it adds q35's own again, with the action of the one beside it.
@pytest.mark.parametrize(
    ("was", "held", "stated", "machine", "left"),
    [
        ("", [ITCO.format("reset")], "", "q35", [("itco", "reset")]),
        ("", [ITCO.format("reset")], "itco reset", "q35", [("itco", "reset")]),
        ("", [ITCO.format("reset")], "i6300esb reset", "q35", [("i6300esb", "reset")]),
        ("", [ITCO.format("reset")], "", "pc", []),
        ("i6300esb reset", [I6300.format("reset"), ITCO.format("reset")], "itco reset", "q35", [("itco", "reset")]),
        ("i6300esb reset", [I6300.format("reset"), ITCO.format("reset")], "i6300esb poweroff", "q35",
         [("i6300esb", "poweroff")]),
        ("i6300esb pause", [I6300.format("pause"), ITCO.format("pause")], "", "q35", []),
        ("i6300esb reset", [I6300.format("reset"), ITCO.format("reset")], "i6300esb reset", "pc",
         [("i6300esb", "reset")]),
        ("itco pause", [ITCO.format("pause")], "i6300esb pause", "q35", [("i6300esb", "pause")]),
    ],
)  # fmt: skip
def test_the_chipsets_watchdog_gives_way_to_what_a_spec_asks_for(
    was: str, held: list[str], stated: str, machine: str, left: list[tuple[str | None, str | None]]
) -> None:
    assert watchdogs(edited(definition(was, *held), rendered(stated, machine)).document.text) == left


def test_the_chipsets_watchdog_is_no_difference() -> None:
    for stated in ("", "itco reset"):
        assert edited(definition("", ITCO.format("reset")), rendered(stated)).differences == ()
    wanted = rendered("i6300esb pause")
    held = definition("i6300esb pause", I6300.format("pause"), ITCO.format("pause"))
    assert edited(held, wanted).differences == ()
    assert live_edit(LiveDocument(held), Definition(held), Rendered(wanted), mark_for(wanted)).differences == ()
    assert (
        unexpressed_xml(Definition(held), Rendered(wanted)).weight
        == unexpressed_xml(Definition(definition("i6300esb pause", I6300.format("pause"))), Rendered(wanted)).weight
    )


def test_a_guest_that_has_the_chipsets_alone_lacks_the_one_that_is_asked_for() -> None:
    held, wanted = definition("", ITCO.format("reset")), rendered("i6300esb reset")
    [found] = live_edit(LiveDocument(held), Definition(held), Rendered(wanted), mark_for(wanted)).differences
    assert (str(found.path), found.found) == ("/devices/watchdog", "")


def test_the_chipsets_is_not_taken_for_one_that_waits_for_the_next_boot() -> None:
    live, wanted = definition("", ITCO.format("reset")), Rendered(rendered("i6300esb reset"))
    held = Definition(definition("i6300esb reset", I6300.format("reset"), ITCO.format("reset")))
    mark = live_mark(LiveDocument(live), held, stated_paths(wanted), {})
    assert mark is not None
    assert not [path for path in mark.stated if path.kind == "watchdog"]
    marked = LiveDocument(with_mark(Rendered(live), mark).text)
    [found] = live_edit(marked, held, wanted, mark_for(wanted.text)).differences
    assert (str(found.path), found.found) == ("/devices/watchdog", "")


FIRMWARE = (
    "<os firmware='efi'><type arch='x86_64' machine='pc-q35-11.1'>hvm</type><firmware>"
    "<feature enabled='no' name='enrolled-keys'/><feature enabled='no' name='secure-boot'/></firmware>{loader}</os>"
)
FLASH = "<loader readonly='yes' type='pflash' format='raw'>/OVMF_CODE.fd</loader><nvram>/nvram/web-01_VARS.fd</nvram>"


def uefi(loader: str) -> str:
    fitted = Fitted(domain=replace(DOMAIN, firmware=Firmware(kind="uefi", secure_boot=False)))
    xml = render(fitted, CLUSTER, SECRET).text
    root = etree.fromstring(with_mark(Rendered(xml), mark_for(xml)).text)
    os = at(root, "os")
    parent_of(os).replace(os, etree.fromstring(FIRMWARE.format(loader=loader)))
    return etree.tostring(root, encoding="unicode")


def with_variables() -> str:
    firmware = Firmware(kind="uefi", secure_boot=False)
    domain = replace(DOMAIN, firmware=firmware, asset_tag=False)
    return render(Fitted(domain=domain, states_variables=True), CLUSTER, SECRET).text


def test_a_flash_that_libvirt_chose_needs_no_word_for_its_variables() -> None:
    held = uefi(FLASH)
    assert (
        edit_definition(Definition(held), Rendered(with_variables()), None, DomainMark(uuid="u", host="")).differences
        == ()
    )


@pytest.mark.parametrize(
    "loader",
    [
        "<loader type='rom' format='raw'>/usr/share/ovmf/OVMF.amdsev.fd</loader>",
        "<loader readonly='yes' type='pflash' stateless='yes'>/OVMF.fd</loader>",
    ],
)
def test_a_loader_without_variables_is_chosen_again(loader: str) -> None:
    edit = edited(uefi(loader), with_variables())
    assert "/os/loader" in {str(each.path) for each in edit.differences}
    [left] = etree.fromstring(edit.document.text).findall("os/loader")
    assert (dict(left.attrib.items()), left.text) == ({"stateless": "no"}, None)


BACKEND = "<backend type='emulator' version='2.0'>{}</backend>"


@pytest.mark.parametrize(
    ("profile", "told"),
    [
        ("<profile name='default-v1'/>", []),
        ("<profile name='custom:fips'/>", ["/devices/tpm/backend/profile"]),
        ("<profile name='default-v1' remove_disabled='check'/>", ["/devices/tpm/backend/profile"]),
    ],
)
def test_the_profile_that_swtpm_took_is_nobodys_change(profile: str, told: list[str]) -> None:
    xml = render(Fitted(domain=replace(DOMAIN, tpm=Tpm(model="tpm-crb", version="2.0"))), CLUSTER, SECRET).text
    root = etree.fromstring(xml)
    backend = at(root, "devices/tpm/backend")
    parent_of(backend).replace(backend, etree.fromstring(BACKEND.format(profile)))
    found = etree.tostring(root, encoding="unicode")
    changes = foreign_changes(
        Definition(xml), Definition(found), Edited(found), (), stated=stated_paths(Rendered(xml)), ignored=()
    )
    assert [str(change.path) for change in changes] == told
    left = unexpressed_xml(Definition(found), Rendered(xml))
    assert (left.weight == unexpressed_xml(Definition(xml), Rendered(xml)).weight) is (told == [])
