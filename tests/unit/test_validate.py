"""libvirt's schema, and who is to blame."""

from virtrbd.domainxml.document import Rendered
from virtrbd.domainxml.validate import schema_problems

GOOD = """<domain type="kvm">
  <name>web-01</name>
  <memory unit="KiB">1024</memory>
  <os><type>hvm</type></os>
  <devices>
    <interface type="bridge">
      <source bridge="br0"/>
      <mac address="52:54:00:00:00:01"/>
    </interface>
    <rng model="virtio"><backend model="random">/dev/urandom</backend></rng>
  </devices>
</domain>"""


def problems(old: str = "", new: str = "") -> tuple[str, ...]:
    assert old in GOOD
    return schema_problems(Rendered(GOOD.replace(old, new) if old else GOOD))


def test_what_the_schema_takes_has_no_problems() -> None:
    assert problems() == ()


def test_names_the_attribute() -> None:
    assert problems('type="bridge"', 'type="bridge" colour="red"') == (
        'libvirt\'s schema refuses colour="red" of <interface type="bridge" colour="red"> '
        "in interface:52:54:00:00:00:01 (line 6 of the XML)",
    )


def test_names_the_element_that_stands_deep_inside() -> None:
    assert problems("</interface>", "<mtu><size/></mtu></interface>") == (
        "libvirt's schema refuses <mtu> in interface:52:54:00:00:00:01 (line 9 of the XML)",
    )


def test_names_every_culprit() -> None:
    found = problems('<rng model="virtio">', '<nonsense/><colour/><rng model="virtio">')
    assert [problem.split()[3] for problem in found] == ["<nonsense>", "<colour>"]


def test_names_a_wrong_value_of_what_a_domain_must_have() -> None:
    assert problems("1024", "much") == ('libvirt\'s schema refuses <memory unit="KiB">much (line 3 of the XML)',)


def test_says_what_libvirt_says_where_no_part_is_wrong_by_itself() -> None:
    (text,) = problems("<name>web-01</name>", "")
    assert text.startswith("libvirt's schema refuses it: ")
