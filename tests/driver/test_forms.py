"""What libvirt makes of a statement is remembered: each of these comes back otherwise, and is no difference.

Those are in stated.txt. The pairs of libvirt's own tests (qemuxml2xml, genericxml2xml of 9.0) were run too: 101 of 615
differed, and none does now.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import libvirt
import pytest

from virtrbd.domainxml.document import Definition, Edited, Rendered
from virtrbd.domainxml.drift import foreign_changes
from virtrbd.domainxml.edit import Edit, edit_definition
from virtrbd.domainxml.given_back import forms_of
from virtrbd.domainxml.managed_paths import stated_paths
from virtrbd.domainxml.mark import set_mark
from virtrbd.domainxml.tree import Element, parse_tree, steps, to_text
from virtrbd.model.mark import DomainMark
from virtrbd.model.record import replace

UUID = "5d1d0d9e-6a4b-4d0e-9d3a-0a5f2d6f6f01"
OS = '<os><type arch="i686">hvm</type></os>'
MAC = "<mac address='52:54:00:00:00:01'/>"
FILE = "<source file='/x'/><target dev='vda' bus='virtio'/>"


def document(general: str = "", devices: str = "") -> str:
    return f"""<domain type="test"><name>forms</name><uuid>{UUID}</uuid>
<memory unit="MiB">1024</memory><vcpu>4</vcpu>{"" if general.startswith("<os>") else OS}{general}
<devices>{devices}</devices></domain>"""


def read_corpus() -> dict[str, str]:
    """Return a document for each element, by its line: where it is stated, and the element."""
    places: dict[str, Callable[[str], str]] = {
        "domain": document,
        "interface": lambda element: document("", f"<interface type='user'>{MAC}{element}</interface>"),
        "disk": lambda element: document("", f"<disk type='file'>{FILE}{element}</disk>"),
        "device": lambda element: document("", element),
    }
    lines = (Path(__file__).parent / "stated.txt").read_text().splitlines()
    return {line: places[where](element) for line in lines for where, _, element in (line.partition(" "),)}


DOCUMENTS = read_corpus()


@pytest.fixture(scope="module")
def connection() -> Iterator[libvirt.virConnect]:
    libvirt.registerErrorHandler(lambda *_: None, None)
    opened = libvirt.open("test:///default")
    yield opened
    opened.close()


def defined(connection: libvirt.virConnect, xml: str) -> str:
    domain = connection.defineXML(xml)
    held: str = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    domain.undefine()
    return held


def mark_for(xml: str, held: str) -> DomainMark:
    """A mark as virtrbd records it once libvirt holds what it defined, and reads it again."""
    mark = DomainMark(uuid=UUID, host="h", stated=stated_paths(Rendered(xml)))
    root = parse_tree(held)
    set_mark(root, replace(mark, forms=forms_of(Definition(held), Rendered(xml), mark)))
    read = Definition(to_text(root)).mark
    assert read is not None
    return read


def edit(held: str, xml: str, mark: DomainMark) -> Edit:
    return edit_definition(Definition(held), Rendered(xml), mark, mark)


def test_the_corpus_is_large() -> None:
    assert len(DOCUMENTS) > 60


@pytest.mark.parametrize("element", DOCUMENTS)
def test_what_libvirt_made_of_it_is_no_difference(element: str, connection: libvirt.virConnect) -> None:
    xml = DOCUMENTS[element]
    held = defined(connection, xml)
    mark = mark_for(xml, held)
    assert edit(held, xml, replace(mark, forms=())).differences, "libvirt says it otherwise"
    again = edit(held, xml, mark)
    assert not again.differences
    # A renewed mark holds what is needed, and no more.
    assert again.forms == mark.forms
    # In libvirt's words it is the same to a guest, beside what libvirt left out.
    bare = replace(mark, forms=())
    assert not edit_definition(Definition(held), again.normal, bare, replace(bare, ignored=again.left_out)).differences


@pytest.mark.parametrize("element", DOCUMENTS)
def test_a_change_of_either_side_is_found(element: str, connection: libvirt.virConnect) -> None:
    xml = DOCUMENTS[element]
    held = defined(connection, xml)
    mark = mark_for(xml, held)
    for difference in edit(held, xml, replace(mark, forms=())).differences:
        if difference.found:
            assert edit(changed(held, str(difference.path)), xml, mark).differences, f"{difference.path} of libvirt's"
        assert edit(held, changed(xml, str(difference.path)), mark).differences, f"{difference.path} of the spec's"


@pytest.mark.parametrize("held", ['adjustment="10"', 'adjustment="0"'])
def test_what_libvirt_put_elsewhere_is_part_of_its_form(held: str) -> None:
    """With offset and adjustment alone another basis would be hidden: the clock goes by the zone then."""
    stated = document('<clock offset="utc" adjustment="reset"/>')
    made = document(f'<clock offset="variable" {held} basis="utc"/>')
    mark = mark_for(stated, made)
    assert not edit(made, stated, mark).differences
    meddled = made.replace('basis="utc"', 'basis="localtime"')
    assert [str(each.path) for each in edit(meddled, stated, mark).differences] == [
        "/clock/@offset",
        "/clock/@adjustment",
    ]


def changed(xml: str, path: str) -> str:
    """Return the document with another value at a path, or in the element there."""
    root = parse_tree(xml)
    path, _, name = path.partition("/@")
    element: Element = root
    for each in path.strip("/").split("/"):
        element = dict(steps(element)).get(each, element)
    if (element.text or "").strip() and not name:
        element.text = "4711"
    else:
        element.set(name or "changed", "4711")
    return to_text(root)


def test_others_may_add_to_what_is_known_in_libvirts_form(connection: libvirt.virConnect) -> None:
    xml = document("<memtune><hard_limit unit='G'>1</hard_limit></memtune>", NIC_AT.format("slot='10'"))
    held = defined(connection, xml)
    mark = mark_for(xml, held)
    others = held.replace("</memtune>", "<soft_limit unit='KiB'>5</soft_limit></memtune>").replace(
        "<description>", "<description>of others, "
    )
    assert not edit(others, xml, mark).differences


NIC_AT = "<interface type='user'><mac address='52:54:00:00:00:01'/><address type='pci' {}/></interface>"


def test_a_value_and_its_unit_are_one(connection: libvirt.virConnect) -> None:
    xml = document("<memtune><hard_limit unit='G'>1</hard_limit></memtune>")
    held = defined(connection, xml)
    mark = mark_for(xml, held)
    # virsh memtune: half of it. Put back without its unit, it would be one KiB.
    found = edit(held.replace("1048576</hard_limit>", "524288</hard_limit>"), xml, mark)
    assert {(str(each.path), each.wanted) for each in found.differences} == {
        ("/memtune/hard_limit", "1"),
        ("/memtune/hard_limit/@unit", "G"),
    }


def test_no_digest_is_kept_of_a_password(connection: libvirt.virConnect) -> None:
    xml = document("", '<graphics type="vnc" port="05900" passwd="s3cr3t"/>')
    held = defined(connection, xml)
    assert not mark_for(xml, held).forms


def test_no_password_of_a_template_is_shown(connection: libvirt.virConnect) -> None:
    xml = document("", '<graphics type="vnc" port="05900" passwd="s3cr3t"/>')
    held = defined(connection, xml)
    found = edit(held, xml, mark_for(xml, held))
    assert [str(each) for each in found.differences if each.path.attribute == "passwd"] == [
        "/devices/graphics/@passwd: absent -> (hidden)"
    ]
    assert 'passwd="s3cr3t"' in found.document.text
    # After a run that was killed before it recorded the definition, this is what others changed.
    changes = foreign_changes(Definition(xml), Definition(held), Edited(held), (), stated=(), ignored=())
    assert "/devices/graphics/@passwd" in [str(each.path) for each in changes]
    assert "s3cr3t" not in repr(changes)


def test_a_mark_of_an_older_version_has_none(connection: libvirt.virConnect) -> None:
    xml = document("", NIC_AT.format("slot='10'"))
    held = defined(connection, xml)
    old = replace(mark_for(xml, held), forms=())
    root = parse_tree(held)
    set_mark(root, old)
    assert "forms" not in to_text(root).replace("<name>forms</name>", "")
    assert Definition(to_text(root)).mark == old
