"""What libvirt makes of rendered documents, on its own test driver."""

from collections.abc import Iterator

import libvirt
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from lxml.etree import QName
from support.whole_domains import UUID, domains, fittings
from support.xml import parent_of

from virtrbd.domainxml.document import Definition, Rendered
from virtrbd.domainxml.edit import Edit, edit_definition, with_mark
from virtrbd.domainxml.managed_paths import stated_paths
from virtrbd.domainxml.render import render
from virtrbd.domainxml.tree import Element, parse_tree, steps, to_text
from virtrbd.model.cluster import ClusterFacts, Monitor
from virtrbd.model.devices import UsbController
from virtrbd.model.disk import Bus, Disk
from virtrbd.model.domain import Domain
from virtrbd.model.fitted import Fitted
from virtrbd.model.image import ImageRef
from virtrbd.model.mark import DomainMark

CLUSTER = ClusterFacts(fsid="f", monitors=(Monitor(address="::1", port=3301), Monitor(address="m")), user="u")
# blockio's discard_granularity is not in the schema of libvirt 9.0, and that of the test driver is the installed one.
whole = domains("test").flatmap(lambda domain: fittings(domain, has_blockio=False))
fast = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@pytest.fixture(scope="module")
def connection() -> Iterator[libvirt.virConnect]:
    libvirt.registerErrorHandler(lambda *_: None, None)
    opened = libvirt.open("test:///default")
    yield opened
    opened.close()


def rendered(fitted: Fitted) -> str:
    """The document, for the only machine that the test driver has; it knows nothing of qemu: elements."""
    xml = render(fitted, CLUSTER, "11111111-1111-1111-1111-111111111111").text
    root = parse_tree(xml.replace('arch="x86_64" machine="pc"', 'arch="i686"'))
    for child in list(root.iterchildren("*")):
        if QName(child).namespace:
            root.remove(child)
    return to_text(root)


def mark_for(xml: str) -> DomainMark:
    return DomainMark(uuid=UUID, host="h", stated=stated_paths(Rendered(xml)))


def define(connection: libvirt.virConnect, xml: str) -> str:
    """Define, by libvirt's schema too, and return what it gives back."""
    domain = connection.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    given_back: str = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    return given_back


def undefine(connection: libvirt.virConnect) -> None:
    for domain in connection.listAllDomains():
        if domain.UUIDString() == UUID:
            domain.undefine()


def edit(definition: str, wanted: str) -> Edit:
    return edit_definition(Definition(definition), Rendered(wanted), Definition(definition).mark, mark_for(wanted))


@fast
@given(fitted=whole)
def test_what_libvirt_gives_back_is_what_was_rendered(connection: libvirt.virConnect, fitted: Fitted) -> None:
    wanted = rendered(fitted)
    try:
        given_back = define(connection, with_mark(Rendered(wanted), mark_for(wanted)).text)
        assert edit(given_back, wanted).differences == ()
        mark = Definition(given_back).mark
        assert mark is not None
        # In the mark they are in the order of the devices.
        assert sorted(mark.stated) == sorted(stated_paths(Rendered(wanted)))
    finally:
        undefine(connection)


@fast
@given(before=whole, after=whole)
def test_an_edit_leads_to_what_a_fresh_define_holds(
    connection: libvirt.virConnect, before: Fitted, after: Fitted
) -> None:
    first, wanted = rendered(before), rendered(after)
    try:
        given_back = define(connection, with_mark(Rendered(first), mark_for(first)).text)
        edited = define(connection, edit(given_back, wanted).document.text)
        assert edit(edited, wanted).differences == ()
        undefine(connection)
        fresh = define(connection, with_mark(Rendered(wanted), mark_for(wanted)).text)
        assert facts(edited, after) == facts(fresh, after)
    finally:
        undefine(connection)


def limited(**iotune: int) -> Fitted:
    disk = Disk(target="vda", bus=Bus.VIRTIO, image=ImageRef(pool="vms", name="law.vda"), iotune=iotune)
    domain = Domain(
        name="law", uuid=UUID, memory_bytes=2**30, vcpus=1, machine="pc", hypervisor="test", host="h", disks=(disk,)
    )
    return Fitted(domain=domain)


def test_a_limit_comes_in_beside_its_like(connection: libvirt.virConnect) -> None:
    """libxml2 finds no way through the schema when another kind of limit stands between read and write."""
    first = rendered(limited(read_iops_sec=1, read_iops_sec_max=9, read_iops_sec_max_length=1))
    burst = {"read_iops_sec_max": 9, "write_iops_sec_max": 9}
    length = {"read_iops_sec_max_length": 1, "write_iops_sec_max_length": 1}
    wanted = rendered(limited(read_iops_sec=1, write_iops_sec=1, **burst, **length))
    try:
        given_back = define(connection, with_mark(Rendered(first), mark_for(first)).text)
        edited = define(connection, edit(given_back, wanted).document.text)
        assert edit(edited, wanted).differences == ()
    finally:
        undefine(connection)


def facts(definition: str, fitted: Fitted) -> set[str]:
    """What a definition says, without what libvirt chose for what was there before and keeps for it."""
    root = parse_tree(definition)
    chosen = ["metadata", "devices/*/address", "devices/controller", "devices/interface/target"]
    if not fitted.domain.video:
        # libvirt gives a screen a video card; that stays when the screen goes.
        chosen.append("devices/video")
    for path in chosen:
        for element in root.findall(path):
            parent_of(element).remove(element)
    for driver in root.iterfind("devices/disk/driver[@discard='ignore']"):
        # A disk without the word ignores discards as well: an edit does not write it where libvirt has none.
        del driver.attrib["discard"]
    return set(sayings(root, ""))


def sayings(element: Element, path: str) -> Iterator[str]:
    yield f"{path} {(element.text or '').strip()}"
    yield from (f"{path}/@{name}={element.get(name)}" for name in map(str, element.attrib))
    for name, child in steps(element):
        # Of devices without a key the one that was there before stays the first.
        yield from sayings(child, f"{path}/{name.partition('#')[0]}")


@given(data=st.data())
@fast
def test_devices_and_metadata_of_others_live_through_any_edit(
    connection: libvirt.virConnect, data: st.DataObject
) -> None:
    first, after = rendered(data.draw(whole)), data.draw(whole)
    wanted = rendered(after)
    theirs = "<interface type='bridge'><mac address='52:54:00:aa:bb:cc'/><source bridge='theirs'/></interface>"
    try:
        given_back = define(connection, with_mark(Rendered(first), mark_for(first)).text)
        meddled = given_back.replace("</devices>", f"{theirs}<input type='tablet' bus='virtio'/></devices>")
        meddled = define(connection, meddled.replace("</metadata>", "<note xmlns='urn:theirs'/></metadata>"))
        edit_of_both = edit(meddled, wanted)
        # Of two tablets nothing says which is virtrbd's: both stay, also one on USB, which libvirt then refuses.
        assume(not (edit_of_both.unclear and after.domain.usb_controller == UsbController(model="none")))
        edited = parse_tree(define(connection, edit_of_both.document.text))
        assert edited.find("devices/interface/source[@bridge='theirs']") is not None
        assert edited.find("devices/input[@type='tablet']") is not None
        assert edited.find("metadata/{urn:theirs}note") is not None
    finally:
        undefine(connection)
