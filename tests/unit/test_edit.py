"""A redefinition is an edit of what libvirt holds."""

from dataclasses import replace

from lxml import etree

from virtrbd.domainxml.edit import device_keys, edit_definition, new_definition
from virtrbd.domainxml.mark import definition_digest, read_mark
from virtrbd.domainxml.render import render
from virtrbd.model.actual import ClusterFacts, Monitor
from virtrbd.model.domain import Bus, Disk, Domain, DomainMark, Interface
from virtrbd.model.image import ImageRef

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
    return render(domain, cluster, SECRET)


def mark_for(xml: str) -> DomainMark:
    return DomainMark(uuid=DOMAIN.uuid, host="h", inputs="i", devices=device_keys(xml))


def held(xml: str | None = None) -> str:
    """The definition as libvirt gives it back: with addresses and its own machine version."""
    xml = xml or rendered()
    root = etree.fromstring(new_definition(xml, mark_for(xml)))
    root.find("os/type").set("machine", "pc-i440fx-7.1")
    for slot, device in enumerate(root.find("devices")):
        etree.SubElement(device, "address", type="pci", slot=hex(slot))
    return etree.tostring(root, encoding="unicode")


def edited(definition: str, domain: Domain = DOMAIN, cluster: ClusterFacts = CLUSTER):  # type: ignore[no-untyped-def]
    wanted = rendered(domain, cluster)
    return edit_definition(definition, wanted, read_mark(definition), mark_for(wanted))


def test_finds_no_difference_in_what_was_rendered() -> None:
    assert edited(held()).differences == ()


def test_an_interface_that_goes_moves_no_other_device() -> None:
    edit = edited(held(), replace(DOMAIN, interfaces=DOMAIN.interfaces[1:]))
    assert [d.path for d in edit.differences] == ["/devices/interface:52:54:00:00:00:01"]
    before = {d.find("address").get("slot") for d in etree.fromstring(held()).find("devices")}
    after = {d.find("address").get("slot") for d in etree.fromstring(edit.xml).find("devices")}
    assert before - after == {"0x1"}


def test_keeps_the_machine_version_that_libvirt_chose() -> None:
    root = etree.fromstring(edited(held(), replace(DOMAIN, vcpus=4)).xml)
    assert root.find("os/type").get("machine") == "pc-i440fx-7.1"
    assert root.findtext("vcpu") == "4"


def test_keeps_devices_and_metadata_of_others() -> None:
    root = etree.fromstring(held())
    foreign = etree.SubElement(root.find("devices"), "interface", type="bridge")
    etree.SubElement(foreign, "mac", address="52:54:00:aa:bb:cc")
    etree.SubElement(root.find("metadata"), "{urn:other}note").text = "by hand"
    edit = edited(etree.tostring(root, encoding="unicode"), replace(DOMAIN, memory_bytes=2 * 1024**3))
    assert "52:54:00:aa:bb:cc" in edit.xml
    assert "by hand" in edit.xml
    assert [d.path for d in edit.differences] == ["/memory"]


def test_follows_monitors_that_moved() -> None:
    moved = replace(CLUSTER, monitors=(Monitor(address="10.0.0.9", port=3301),))
    edit = edited(held(), cluster=moved)
    assert [str(d) for d in edit.differences] == ["/devices/disk:vda/source/host: 10.0.0.1: -> 10.0.0.9:3301"]
    assert edited(edit.xml, cluster=moved).differences == ()


def test_a_mark_counts_only_for_its_own_domain() -> None:
    definition = held()
    assert read_mark(definition) is not None
    assert read_mark(definition.replace(DOMAIN.uuid, "3" * 8 + DOMAIN.uuid[8:], 1)) is None


def test_the_digest_sees_changes_but_neither_order_nor_our_own_element() -> None:
    root = etree.fromstring(held())
    digest = definition_digest(held())
    devices = root.find("devices")
    devices[:] = reversed(devices)
    assert definition_digest(etree.tostring(root, encoding="unicode")) == digest
    root.find("metadata").clear()
    assert definition_digest(etree.tostring(root, encoding="unicode")) == digest
    root.find("memory").text = "1"
    assert definition_digest(etree.tostring(root, encoding="unicode")) != digest


def test_image_names_are_escaped() -> None:
    disk = replace(DOMAIN.disks[0], image=ImageRef(pool="vms", name='a"&<b'))
    source = etree.fromstring(rendered(replace(DOMAIN, disks=(disk,)))).find("devices/disk/source")
    assert source.get("name") == 'vms/a"&<b'
