"""A redefinition is an edit of what libvirt holds."""

import re
from collections.abc import Callable
from typing import Any

from lxml import etree
from support.xml import at

from virtrbd.domainxml.document import Definition, Rendered
from virtrbd.domainxml.edit import Edit, edit_definition, with_mark
from virtrbd.domainxml.managed_paths import stated_paths
from virtrbd.domainxml.mark import mark_text
from virtrbd.domainxml.render import render
from virtrbd.model.cluster import ClusterFacts, Monitor
from virtrbd.model.devices import Filesystem, Graphics, Interface, Memballoon
from virtrbd.model.disk import Bus, Cdrom, Discard, Disk
from virtrbd.model.domain import Domain
from virtrbd.model.element_path import ElementPath
from virtrbd.model.fitted import Fitted
from virtrbd.model.image import ImageRef
from virtrbd.model.machine import Cpu, CpuTune, Firmware, NumaCell
from virtrbd.model.mark import DomainMark, ForeignChange
from virtrbd.model.record import replace

CLUSTER = ClusterFacts(fsid="f", monitors=(Monitor(address="10.0.0.1"),), user="virtrbd")
SECRET = "11111111-1111-1111-1111-111111111111"
DOMAIN = Domain(
    name="web-01",
    uuid="22222222-2222-2222-2222-222222222222",
    memory_bytes=1024**3,
    vcpus=2,
    machine="pc",
    hypervisor="qemu",
    host="kvm-1",
    disks=(Disk(target="vda", bus=Bus.VIRTIO, image=ImageRef(pool="vms", name="web-01.vda")),),
    interfaces=(
        Interface(mac="52:54:00:00:00:01", bridge="br0"),
        Interface(mac="52:54:00:00:00:02", bridge="br1"),
    ),
)


def rendered(domain: Domain = DOMAIN, cluster: ClusterFacts = CLUSTER) -> str:
    return render(Fitted(domain=domain), cluster, SECRET).text


def mark_for(xml: str) -> DomainMark:
    return DomainMark(uuid=DOMAIN.uuid, host="h", inputs="i", stated=stated_paths(Rendered(xml)))


def held(xml: str | None = None) -> str:
    """The definition as libvirt gives it back: with addresses and its own machine version."""
    xml = xml or rendered()
    root = etree.fromstring(with_mark(Rendered(xml), mark_for(xml)).text)
    at(root, "os/type").set("machine", "pc-i440fx-7.1")
    for slot, device in enumerate(at(root, "devices")):
        etree.SubElement(device, "address", type="pci", slot=hex(slot))
    return etree.tostring(root, encoding="unicode")


def edited(definition: str, domain: Domain = DOMAIN, cluster: ClusterFacts = CLUSTER) -> Edit:
    wanted = rendered(domain, cluster)
    return edit_definition(Definition(definition), Rendered(wanted), Definition(definition).mark, mark_for(wanted))


def test_finds_no_difference_in_what_was_rendered() -> None:
    assert edited(held()).differences == ()


def test_an_interface_that_goes_moves_no_other_device() -> None:
    edit = edited(held(), replace(DOMAIN, interfaces=DOMAIN.interfaces[1:]))
    assert [str(d.path) for d in edit.differences] == ["/devices/interface:52:54:00:00:00:01"]
    before = {at(d, "address").get("slot") for d in at(etree.fromstring(held()), "devices")}
    after = {at(d, "address").get("slot") for d in at(etree.fromstring(edit.document.text), "devices")}
    assert before - after == {"0x1"}


def test_a_balloon_that_goes_leaves_its_address_and_its_period() -> None:
    with_balloon = held(rendered(replace(DOMAIN, memballoon=Memballoon(autodeflate=True, stats_period=5))))
    root = etree.fromstring(edited(with_balloon, replace(DOMAIN, memballoon=Memballoon(model="none"))).document.text)
    balloon = at(root, "devices/memballoon")
    assert (balloon.get("model"), len(balloon.attrib), len(balloon)) == ("none", 1, 0)


def test_threads_of_a_disk_that_go_leave_nothing() -> None:
    (disk,) = DOMAIN.disks
    shared = replace(DOMAIN, disks=(replace(disk, queues=2, iothreads={"1": (0,), "2": (1,)}),))
    alone = replace(DOMAIN, disks=(replace(disk, iothread=1),))
    root = etree.fromstring(edited(held(rendered(shared)), alone).document.text)
    driver = at(root, "devices/disk/driver")
    assert (driver.get("iothread"), driver.get("queues"), len(driver)) == ("1", None, 0)


def test_a_boot_order_of_a_device_of_others_stays_and_is_reported() -> None:
    theirs = (
        "<disk type='file' device='cdrom'><source file='/x.iso'/><target dev='sdz' bus='sata'/><boot order='1'/></disk>"
        "<redirdev bus='usb' type='spicevmc'><boot order='2'/></redirdev>"
    )
    by_class = replace(DOMAIN, boot=("network", "hd"))
    for before in (DOMAIN, by_class):
        definition = re.sub("<boot dev=.*?/>", "", held(rendered(before))).replace("</devices>", f"{theirs}</devices>")
        edit = edited(definition, by_class)
        root = etree.fromstring(edit.document.text)
        assert edit.boots == ("disk:sdz", "redirdev")
        assert root.find("os/boot") is None
        assert [boot.get("order") for boot in root.findall("devices/*/boot")] == ["1", "2"]
        assert edit.differences == ()


def test_a_9p_folder_of_others_with_the_tag_of_a_spec_becomes_a_virtiofs_one() -> None:
    theirs = (
        "<filesystem type='mount' accessmode='mapped' fmode='0600'>{}<source dir='/a'/><target dir='srv'/><readonly/>"
        "</filesystem></devices>"
    )
    wanted = replace(DOMAIN, filesystems=(Filesystem(source="/srv", target="srv"),))
    for driver in ("", "<driver type='path' wrpolicy='immediate'/>"):
        edit = edited(held().replace("</devices>", theirs.format(driver)), wanted)
        (folder,) = etree.fromstring(edit.document.text).findall("devices/filesystem")
        assert (folder.get("fmode"), folder.find("readonly")) == (None, None)
        assert [*map(str, at(folder, "driver").attrib.items())] == ["('type', 'virtiofs')"]
        assert at(folder, "source").get("dir") == "/srv"


def test_what_is_stated_to_boot_from_is_all_there_is() -> None:
    """libvirt refuses a boot order beside it, which virsh may have given to a device instead."""
    by_class = replace(DOMAIN, boot=("network", "hd"))
    more = held(rendered(by_class)).replace('<boot dev="hd"/>', '<boot dev="hd"/><boot dev="cdrom"/>')
    orders = held().replace("</disk>", '<boot order="1"/></disk>')
    for definition, difference in ((more, "/os/boot: cdrom"), (orders, "/devices/disk:vda/boot: 1")):
        edit = edited(definition, by_class)
        root = etree.fromstring(edit.document.text)
        assert [boot.get("dev") for boot in root.findall("os/boot")] == ["network", "hd"]
        assert root.find("devices/*/boot") is None
        assert f"{difference} -> absent" in "\n".join(map(str, edit.differences))


def test_a_cell_that_goes_leaves_nothing_of_itself() -> None:
    cells = (NumaCell(cpus="0", memory_bytes=2**29), NumaCell(cpus="1", memory_bytes=2**29))
    two = replace(DOMAIN, cpu=Cpu(mode="host-passthrough", numa=cells))
    one = replace(DOMAIN, cpu=Cpu(mode="host-passthrough", numa=(NumaCell(cpus="0-1", memory_bytes=2**30),)))
    definition = held(rendered(two)).replace('cpus="1"', 'cpus="1" discard="yes"')
    root = etree.fromstring(edited(definition, one).document.text)
    assert [(cell.get("cpus"), cell.get("memory")) for cell in root.findall("cpu/numa/cell")] == [("0-1", "1048576")]
    assert etree.fromstring(edited(definition, replace(two, cpu=Cpu(mode="host-passthrough"))).document.text).find(
        "cpu/numa"
    ) is None  # fmt: skip


def test_a_pin_is_known_by_its_thread() -> None:
    pinned = replace(DOMAIN, cputune=CpuTune(vcpupin={"1": "3"}))
    theirs = held(rendered(pinned)).replace("<vcpupin", '<vcpupin vcpu="0" cpuset="9"/><vcpupin', 1)
    assert edited(theirs, pinned).differences == ()
    root = etree.fromstring(edited(theirs).document.text)
    assert [pin.get("vcpu") for pin in root.findall("cputune/vcpupin")] == ["0"]


def test_a_mark_of_an_older_version_counts_pins_in_their_order() -> None:
    pinned = replace(DOMAIN, cputune=CpuTune(vcpupin={"0": "2", "1": "3"}))
    today = "vcpupin:0 vcpupin:0/@cpuset vcpupin:1 vcpupin:1/@cpuset"
    before = "vcpupin#2/@cpuset vcpupin#2/@vcpu vcpupin/@cpuset vcpupin/@vcpu"
    assert today in held(rendered(pinned))
    one = replace(DOMAIN, cputune=CpuTune(vcpupin={"0": "2"}))
    edit = edited(held(rendered(pinned)).replace(today, before), one)
    assert [pin.get("vcpu") for pin in etree.fromstring(edit.document.text).findall("cputune/vcpupin")] == ["0"]
    assert edited(edit.document.text, one).differences == ()


def test_a_change_by_others_to_a_pin_stays_known_over_an_upgrade() -> None:
    mark = replace(
        mark_for(rendered()), foreign=(ForeignChange(path=ElementPath("/cputune/vcpupin#2"), was="", found="present"),)
    )
    pins = '<cputune><vcpupin vcpu="0" cpuset="2"/><vcpupin vcpu="1" cpuset="3"/></cputune>'
    older = with_mark(Rendered(rendered().replace("<os>", f"{pins}<os>", 1)), mark).text
    found = Definition(older).mark
    assert found is not None
    assert [str(change.path) for change in found.foreign] == ["/cputune/vcpupin:1"]


def test_keeps_the_machine_version_that_libvirt_chose() -> None:
    root = etree.fromstring(edited(held(), replace(DOMAIN, vcpus=4)).document.text)
    assert at(root, "os/type").get("machine") == "pc-i440fx-7.1"
    assert root.findtext("vcpu") == "4"


def test_lays_a_canonical_machine_over_an_older_one() -> None:
    upgraded = replace(DOMAIN, machine="pc-i440fx-7.2")
    edit = edited(held(), upgraded)
    assert [str(d) for d in edit.differences] == ["/os/type/@machine: pc-i440fx-7.1 -> pc-i440fx-7.2"]
    assert edited(edit.document.text, upgraded).differences == ()


def test_keeps_devices_and_metadata_of_others() -> None:
    root = etree.fromstring(held())
    foreign = etree.SubElement(at(root, "devices"), "interface", type="bridge")
    etree.SubElement(foreign, "mac", address="52:54:00:aa:bb:cc")
    etree.SubElement(at(root, "metadata"), "{urn:other}note").text = "by hand"
    edit = edited(etree.tostring(root, encoding="unicode"), replace(DOMAIN, memory_bytes=2 * 1024**3))
    assert "52:54:00:aa:bb:cc" in edit.document.text
    assert "by hand" in edit.document.text
    assert [str(d.path) for d in edit.differences] == ["/memory"]


def test_follows_monitors_that_moved() -> None:
    moved = replace(CLUSTER, monitors=(Monitor(address="10.0.0.9", port=3301),))
    edit = edited(held(), cluster=moved)
    assert [str(d) for d in edit.differences] == ["/devices/disk:vda/source/host: 10.0.0.1 -> 10.0.0.9:3301"]
    assert edited(edit.document.text, cluster=moved).differences == ()


def test_a_mark_counts_only_for_its_own_domain() -> None:
    definition = held()
    assert Definition(definition).mark is not None
    assert Definition(definition.replace(DOMAIN.uuid, "3" * 8 + DOMAIN.uuid[8:], 1)).mark is None


def test_the_digest_sees_changes_but_neither_order_nor_our_own_element() -> None:
    root = etree.fromstring(held())
    digest = Definition(held()).digest
    devices = at(root, "devices")
    devices[:] = reversed(devices)
    assert Definition(etree.tostring(root, encoding="unicode")).digest == digest
    at(root, "metadata").clear()
    assert Definition(etree.tostring(root, encoding="unicode")).digest == digest
    at(root, "memory").text = "1"
    assert Definition(etree.tostring(root, encoding="unicode")).digest != digest


def test_image_names_are_escaped() -> None:
    disk = replace(DOMAIN.disks[0], image=ImageRef(pool="vms", name='a"&<b'))
    source = at(etree.fromstring(rendered(replace(DOMAIN, disks=(disk,)))), "devices/disk/source")
    assert source.get("name") == 'vms/a"&<b'


def changed(definition: str, change: Callable[[etree._Element], object]) -> str:
    """The definition after somebody's `virsh edit`."""
    root = etree.fromstring(definition)
    change(root)
    return etree.tostring(root, encoding="unicode")


def with_disk(**fields: Any) -> Domain:
    return replace(DOMAIN, disks=(replace(DOMAIN.disks[0], **fields),))


def test_what_is_stated_no_more_goes_and_what_others_added_beside_it_stays() -> None:
    before = with_disk(iotune={"read_iops_sec": 100, "write_iops_sec": 50}, serial="S1", iothread=1)
    definition = changed(
        held(rendered(before)),
        lambda root: etree.SubElement(at(root, "devices/disk/driver"), "metadata_cache"),
    )
    edit = edited(definition, with_disk(iotune={"write_iops_sec": 50}))
    assert sorted(str(d) for d in edit.differences) == [
        "/devices/disk:vda/driver/@iothread: 1 -> absent",
        "/devices/disk:vda/iotune/read_iops_sec: 100 -> absent",
        "/devices/disk:vda/serial: S1 -> absent",
        "/iothreads: 1 -> absent",
    ]
    disk = at(etree.fromstring(edit.document.text), "devices/disk")
    assert disk.findtext("iotune/write_iops_sec") == "50"
    assert disk.find("driver/metadata_cache") is not None


def test_an_element_that_becomes_empty_goes() -> None:
    edit = edited(held(rendered(with_disk(iotune={"read_iops_sec": 100}))))
    assert etree.fromstring(edit.document.text).find("devices/disk/iotune") is None


def test_what_nobody_stated_is_not_taken_away() -> None:
    definition = changed(
        held(), lambda root: setattr(etree.SubElement(at(root, "devices/disk"), "serial"), "text", "BY-HAND")
    )
    edit = edited(definition)
    assert edit.differences == ()
    assert "BY-HAND" in edit.document.text


def test_a_cpu_that_is_stated_no_more_goes_with_what_libvirt_added() -> None:
    definition = held(rendered(replace(DOMAIN, cpu=Cpu(mode="host-passthrough"))))
    definition = changed(definition, lambda root: at(root, "cpu").set("migratable", "on"))
    assert etree.fromstring(edited(definition).document.text).find("cpu") is None


def test_another_cpu_mode_keeps_nothing_of_the_old_one() -> None:
    definition = held(rendered(replace(DOMAIN, cpu=Cpu(mode="custom", model="EPYC"))))
    root = etree.fromstring(edited(definition, replace(DOMAIN, cpu=Cpu(mode="host-passthrough"))).document.text)
    assert root.find("cpu/model") is None
    assert dict(at(root, "cpu").attrib.items()) == {"mode": "host-passthrough"}


def test_an_interface_that_moves_to_a_network_keeps_its_place() -> None:
    moved = replace(DOMAIN.interfaces[0], bridge="", network="lan")
    root = etree.fromstring(edited(held(), replace(DOMAIN, interfaces=(moved, DOMAIN.interfaces[1]))).document.text)
    interface = at(root, "devices/interface")
    assert interface.get("type") == "network"
    assert [dict(source.attrib) for source in interface.findall("source")] == [{"network": "lan"}]
    assert interface.find("address") is not None


def test_a_cdrom_is_filled_and_emptied() -> None:
    empty = replace(DOMAIN, cdroms=(Cdrom(target="sda", bus=Bus.SATA),))
    full = replace(
        DOMAIN, cdroms=(Cdrom(target="sda", bus=Bus.SATA, image=ImageRef(pool="iso", name="i", snapshot="s")),)
    )
    filled = edited(held(rendered(empty)), full)
    drive = at(etree.fromstring(filled.document.text), "devices/disk[@device='cdrom']")
    assert (drive.get("type"), at(drive, "source").get("name")) == ("network", "iso/i")
    ejected = edited(filled.document.text, empty)
    drive = at(etree.fromstring(ejected.document.text), "devices/disk[@device='cdrom']")
    assert drive.get("type") == "file"
    assert drive.find("source") is None
    assert edited(ejected.document.text, empty).differences == ()


def test_another_kind_of_screen_replaces_the_old_one_and_its_sound() -> None:
    definition = changed(
        held(rendered(replace(DOMAIN, graphics=Graphics(kind="spice", port=5950)))),
        lambda root: etree.SubElement(at(root, "devices"), "audio", id="1", type="spice"),
    )
    root = etree.fromstring(edited(definition, replace(DOMAIN, graphics=Graphics(kind="vnc"))).document.text)
    screens = [dict(graphics.attrib) for graphics in root.findall("devices/graphics")]
    assert screens == [{"type": "vnc", "autoport": "yes", "listen": "127.0.0.1"}]
    assert root.find("devices/audio") is None


def test_the_loader_that_libvirt_chose_stays_until_the_firmware_is_another() -> None:
    uefi = replace(DOMAIN, firmware=Firmware(kind="uefi"))

    def fill_in(root: etree._Element) -> None:
        etree.SubElement(at(root, "os"), "loader").text = "/usr/share/OVMF/OVMF_CODE_4M.fd"
        etree.SubElement(at(root, "os"), "nvram").text = "/var/lib/libvirt/qemu/nvram/web-01_VARS.fd"

    definition = changed(held(rendered(uefi)), fill_in)
    assert edited(definition, uefi).differences == ()
    assert "OVMF_CODE" in edited(definition, replace(uefi, title="t")).document.text
    os = at(etree.fromstring(edited(definition).document.text), "os")
    assert [os.find(tag) for tag in ("loader", "nvram")] == [None, None]
    assert os.get("firmware") is None


OVERRIDDEN = Fitted(domain=DOMAIN, override={"vda": 65536})
SET = Fitted(domain=DOMAIN, set_device={"vda": 65536}, drops_json_device=True)


def fitted_edit(definition: str, fitted: Fitted) -> Edit:
    wanted = render(fitted, CLUSTER, SECRET).text
    return edit_definition(Definition(definition), Rendered(wanted), Definition(definition).mark, mark_for(wanted))


def test_an_override_gives_way_to_what_a_newer_libvirt_has_for_it() -> None:
    definition = held(render(OVERRIDDEN, CLUSTER, SECRET).text)
    edit = fitted_edit(definition, Fitted(domain=DOMAIN, blockio={"vda": 65536}))
    root = etree.fromstring(edit.document.text)
    assert root.find("{*}override") is None
    assert root.find("devices/disk/alias") is None
    assert at(root, "devices/disk/blockio").get("discard_granularity") == "65536"


def test_arguments_of_others_stay_where_ours_come_and_go() -> None:
    def add_theirs(root: etree._Element) -> None:
        commandline = at(root, "{*}commandline")
        for index, value in enumerate(("-device", "theirs")):
            commandline.insert(index, commandline.makeelement(commandline[0].tag, value=value))

    definition = changed(held(render(SET, CLUSTER, SECRET).text), add_theirs)
    assert fitted_edit(definition, SET).differences == ()
    edit = fitted_edit(definition, Fitted(domain=DOMAIN))
    arguments = [argument.get("value") for argument in at(etree.fromstring(edit.document.text), "{*}commandline")]
    assert arguments == ["-device", "theirs"]
    assert etree.fromstring(edit.document.text).find("{*}capabilities") is None


def with_hostdevs(*slots: int) -> str:
    """The document of a site's template that states hostdevs, which have no key of their own."""
    hostdevs = "".join(
        f"<hostdev mode='subsystem' type='pci'><source><address bus='0x06' slot='{slot}'/></source></hostdev>"
        for slot in slots
    )
    return rendered().replace("</devices>", f"{hostdevs}</devices>")


def edited_to(definition: str, wanted: str) -> Edit:
    return edit_definition(Definition(definition), Rendered(wanted), Definition(definition).mark, mark_for(wanted))


def slots_of(xml: str) -> list[tuple[str | None, str | None]]:
    """Each hostdev's slot on the host and in the guest."""
    return [
        (at(hostdev, "source/address").get("slot"), at(hostdev, "address").get("slot"))
        for hostdev in etree.fromstring(xml).findall("devices/hostdev")
    ]


def test_of_devices_without_a_key_the_one_that_is_left_stays_in_its_place() -> None:
    definition = held(with_hostdevs(1, 2))
    _, second = slots_of(definition)
    edit = edited_to(definition, with_hostdevs(2))
    assert slots_of(edit.document.text) == [second]
    assert [str(d.path) for d in edit.differences] == ["/devices/hostdev"]


def test_a_device_of_others_is_not_taken_for_ours() -> None:
    theirs = held(with_hostdevs(9))
    foreign = theirs.replace('<virtrbd:states of="devices/hostdev"', '<virtrbd:states of="devices/other"')
    once = edited_to(foreign, with_hostdevs(1)).document.text
    slots = [at(hostdev, "source/address").get("slot") for hostdev in etree.fromstring(once).findall("devices/hostdev")]
    assert slots == ["1", "9"]
    gone = edited_to(once, rendered()).document.text
    slots = [at(hostdev, "source/address").get("slot") for hostdev in etree.fromstring(gone).findall("devices/hostdev")]
    assert slots == ["9"]


def test_another_chipset_keeps_no_address() -> None:
    root = etree.fromstring(edited(held(), replace(DOMAIN, machine="q35")).document.text)
    assert root.find("devices/*/address") is None


def test_the_mark_reads_as_it_was_written() -> None:
    wanted = render(SET, CLUSTER, SECRET).text
    mark = mark_for(wanted)
    assert with_mark(Rendered(wanted), mark).mark == mark
    assert 'of="devices/disk:vda" parts=". alias/@name driver/@cache driver/@discard"' in mark_text(mark)


def test_a_mark_of_the_first_version_still_counts() -> None:
    definition = held().replace("virtrbd:states of=", "virtrbd:x was=")
    definition = definition.replace("virtrbd:x was=", 'virtrbd:device key="interface:52:54:00:00:00:01" was=', 1)
    mark = Definition(definition).mark
    assert mark is not None
    assert ElementPath("/devices/interface:52:54:00:00:00:01") in mark.stated


def test_memory_that_virsh_set_for_the_next_start_follows_the_spec() -> None:
    definition = changed(
        held(), lambda root: setattr(etree.SubElement(root, "currentMemory", unit="KiB"), "text", "524288")
    )
    edit = edited(definition)
    assert [str(d) for d in edit.differences] == ["/currentMemory: 524288 -> 1048576"]


def test_a_user_named_beside_the_source_is_the_one_in_it() -> None:
    """As definitions from before libvirt 3.9 have it; both at once libvirt refuses."""
    root = etree.fromstring(held())
    disk = at(root, "devices/disk")
    disk.append(at(disk, "source/auth"))
    edit = edited(etree.tostring(root, encoding="unicode"))
    assert edit.differences == ()
    assert len(etree.fromstring(edit.document.text).findall("devices/disk//auth")) == 1


def test_a_disk_that_says_nothing_of_discard_ignores_it() -> None:
    silent = etree.fromstring(held())
    del at(silent, "devices/disk/driver").attrib["discard"]
    text = etree.tostring(silent, encoding="unicode")
    (disk,) = DOMAIN.disks
    assert edited(text, replace(DOMAIN, disks=(replace(disk, discard=Discard.IGNORE),))).differences == ()
    assert [str(each.path) for each in edited(text).differences] == ["/devices/disk:vda/driver/@discard"]
