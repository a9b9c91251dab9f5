"""A spec's own XML: laid over what is rendered, told with its place, and refused where it is hostile."""

from pathlib import Path

import pytest
from support.xml import at

from virtrbd.domainxml.document import Definition, Rendered
from virtrbd.domainxml.edit import edit_definition
from virtrbd.domainxml.managed_paths import stated_paths
from virtrbd.domainxml.rendered import render_document
from virtrbd.domainxml.tree import parse_tree
from virtrbd.errors import SpecError
from virtrbd.model.cluster import ClusterFacts, Monitor
from virtrbd.model.domain import Domain
from virtrbd.model.fitted import Fitted
from virtrbd.model.mark import DomainMark
from virtrbd.model.record import replace
from virtrbd.model.settings import Settings
from virtrbd.specs.explain import explain
from virtrbd.specs.files import SpecFile, SpecFiles
from virtrbd.specs.load import LoadedSpec, check_files
from virtrbd.specs.resolve import resolve

CLUSTER = ClusterFacts(fsid="f", monitors=(Monitor(address="10.0.0.1"),), user="u")
SECRET = "11111111-1111-1111-1111-111111111111"
SETTINGS = Settings(host="kvm-1", file="/etc/virtrbd/virtrbd.yaml", ceph_configs=("/etc/ceph/known.conf",))
BEGIN = "name: web-01\nmemory: 1G\ndisks:\n  - size: 10G\n"


def spec(xml: str, more: str = "", name: str = "web-01") -> str:
    """A spec of which the XML begins in line 6 of the file, behind what is `more`."""
    indented = "".join(f"  {line}\n" for line in xml.splitlines())
    return f"{BEGIN.replace('web-01', name)}{more}xml: |\n{indented}"


def loaded(*texts: str, settings: Settings = SETTINGS, profiles: str = "") -> tuple[LoadedSpec, ...]:
    files = tuple(SpecFile(path=f"s/{number}.yaml", raw=text.encode()) for number, text in enumerate(texts))
    beside = {"s": SpecFile(path="s/profiles.yaml", raw=profiles.encode())} if profiles else {}
    return check_files(SpecFiles(specs=files, profiles=beside), settings)


def domain(text: str, *, settings: Settings = SETTINGS, profiles: str = "") -> Domain:
    return resolve(loaded(text, settings=settings, profiles=profiles), settings)[0]


def problems(*texts: str, settings: Settings = SETTINGS, profiles: str = "") -> tuple[str, ...]:
    with pytest.raises(SpecError) as caught:
        resolve(loaded(*texts, settings=settings, profiles=profiles), settings)
    return caught.value.messages


def rendered(text: str) -> str:
    document = render_document(Fitted(domain=domain(text)), CLUSTER, SECRET)
    assert document.problems == ()
    assert document.document
    return document.document.text


def test_is_laid_over_what_virtrbd_renders_by_the_rules_of_templates() -> None:
    root = parse_tree(
        rendered(
            spec(
                "<clock><timer name='hpet' present='no'/></clock>\n<memoryBacking><locked/></memoryBacking>\n"
                "<sysinfo type='smbios'><oemStrings><entry>a</entry><entry>b</entry></oemStrings></sysinfo>\n"
                "<devices><disk><target dev='vda'/><blockio logical_block_size='4096'/></disk>"
                "<sound model='ich9'/></devices>\n"
                "<qemu:commandline><qemu:arg value='-x'/></qemu:commandline>"
            )
        )
    )
    assert [clock.get("offset") for clock in root.findall("clock")] == ["utc"]
    assert at(root, "clock/timer").get("name") == "hpet"
    assert [entry.text for entry in root.iterfind("sysinfo/oemStrings/entry")] == ["a", "b"]
    assert root.findtext("sysinfo/chassis/entry") == "web-01"
    (disk,) = root.findall("devices/disk")
    assert disk.find("blockio") is not None
    assert disk.find("source/auth") is not None
    assert root.find("devices/sound") is not None


def test_disks_stand_in_the_order_in_which_it_names_them() -> None:
    """A guest boots from the first one."""
    file = "<disk type='file'><source file='/x'/><target dev='sdz' bus='sata'/></disk>"
    named = spec(f"<devices>{file}<disk><target dev='vda'/></disk></devices>")
    for text, order in ((spec(f"<devices>{file}</devices>"), ["vda", "sdz"]), (named, ["sdz", "vda"])):
        root = parse_tree(rendered(text))
        assert [target.get("dev") for target in root.iterfind("devices/disk/target")] == order


def test_goes_from_the_definition_when_it_goes_from_the_spec() -> None:
    with_xml = rendered(
        spec("<clock><timer name='hpet' present='no'/></clock><devices><sound model='ich9'/></devices>")
    )
    mark = DomainMark(uuid="u", host="h", stated=stated_paths(Rendered(with_xml)))
    edit = edit_definition(Definition(with_xml), Rendered(rendered(BEGIN)), mark, mark)
    assert [str(each) for each in edit.differences] == [
        "/clock/timer:hpet/@present: no -> absent",
        "/clock/timer:hpet: present -> absent",
        "/devices/sound: present -> absent",
    ]


def test_the_schema_names_the_line_of_the_spec() -> None:
    text = spec(
        "<clock>\n<timer name='hpet' present='no'/>\n</clock>\n<devices>\n<sound model='x' foo='y'/>\n</devices>"
    )
    document = render_document(Fitted(domain=domain(text)), CLUSTER, SECRET)
    assert document.problems == ('s/0.yaml:10: web-01: xml: libvirt\'s schema refuses <sound model="x" foo="y">',)


def test_monitors_of_another_cluster_are_refused_for_a_disk_of_the_spec() -> None:
    """The start gate leaves alone what is on another cluster, and this disk's image was made here."""

    def told(*hosts: str, target: str = "vda", more: str = "") -> tuple[str, ...]:
        named = "".join(f"<host name='{host}' port='3300'/>" for host in hosts)
        text = spec(f"<devices>\n<disk>\n<source {more}>\n{named}</source><target dev='{target}'/></disk></devices>")
        return render_document(Fitted(domain=domain(text)), CLUSTER, SECRET, check_schema=False).problems

    assert told("10.9.9.9") == (
        "s/0.yaml:9: web-01: xml: disk vda is in the spec, so on this cluster, and these are not its monitors; "
        "leave out <host>",
    )
    assert told("10.0.0.1") == told("10.9.9.9", "10.0.0.1") == told("::ffff:10.0.0.1") == told("mon-a") == ()
    assert told("10.9.9.9", target="vdb", more="protocol='rbd' name='vms/x'") == ()


def test_a_line_of_a_profile_is_told_as_that() -> None:
    profiles = "profiles:\n  loud:\n    xml: |\n      <clock/>\n      <devices><sound foo='y'/></devices>\n"
    text = f"{BEGIN}uses: loud\n"
    document = render_document(Fitted(domain=domain(text, profiles=profiles)), CLUSTER, SECRET)
    assert [problem.partition(": ")[0] for problem in document.problems] == ["s/profiles.yaml:5"]


BOMB = '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><a>&c;</a>'


@pytest.mark.parametrize(
    ("xml", "line", "why"),
    [
        (BOMB, 6, "cannot be read"),
        ("<clock/>\n<title>&undeclared;</title>", 7, "cannot be read: Entity 'undeclared' not defined"),
        ("<title><!ENTITY x 'y'></title>", 6, "cannot be read"),
        ("<clock/>\n<title>", 7, "cannot be read"),
        ("</domain><domain>", 6, "cannot be read"),
        ("<clock/>\n<?php evil ?>", 7, "a processing instruction or an entity"),
        ("<clock/> words", 6, "'words' is not an element"),
        ("<xi:include xmlns:xi='http://www.w3.org/2001/XInclude' href='/etc/shadow'/>", 6, "of a namespace"),
        ("<clock xmlns='urn:x'/>", 6, "of a namespace"),
        ("<clock x:y='z' xmlns:x='urn:x'/>", 6, "of a namespace"),
        ("<metadata><v:domain xmlns:v='urn:virtrbd:domain:1'/></metadata>", 6, "virtrbd's own mark"),
        ("<name>other</name>", 6, "the spec's `name:`"),
        ("<clock/>\n<uuid>x</uuid>", 7, "the spec's `uuid:`"),
        ("<domain type='kvm'/>", 6, "what is inside <domain>"),
        ("<sound model='ich9'/>", 6, "write it inside <devices>"),
        ("<devices><disk><source name='vms/b'/><target dev='vda'/></disk></devices>", 6, "disk vda is in the spec"),
        (
            "<devices><disk type='network'><source protocol='rbd' name='a/b'><config file='/x'/></source>"
            "<target dev='vdb'/></disk></devices>",
            6,
            "/x is not in the settings' ceph_configs",
        ),
        ("<a b='c'/>" * 25_001 + "<a></a>" * 50_000, 6, "has more than 50000 elements"),
        ("<a " + " ".join(f"a{n}='x'" for n in range(5_001)) + "/>", 6, "attributes"),
    ],
)
def test_what_is_hostile_or_another_s_to_say_is_refused_with_its_line(xml: str, line: int, why: str) -> None:
    (problem,) = problems(spec(xml))
    assert problem.startswith(f"s/0.yaml:{line}: xml: ")
    assert why in problem


def test_a_known_ceph_config_may_be_named() -> None:
    config = "<config file='/etc/ceph/known.conf'/>"
    source = f"<source protocol='rbd' name='a/b'>{config}</source>"
    assert domain(spec(f"<devices><disk type='network'>{source}<target dev='vdb'/></disk></devices>")).xml


USES = (
    "<devices><disk type='network'><source protocol='rbd' name='vms/{name}'/><target dev='vdb'/></disk></devices>",
    "<devices><disk type='block'><source dev='/dev/rbd/vms/{name}'/><target dev='vdb'/></disk></devices>",
    "<os><nvram type='network'><source protocol='rbd' name='vms/{name}'/></nvram></os>",
    "<qemu:commandline><qemu:arg value='-drive'/><qemu:arg value='file=rbd:vms/{name}'/></qemu:commandline>",
)


@pytest.mark.parametrize("xml", USES)
def test_an_image_that_it_names_belongs_to_one_domain(xml: str) -> None:
    (problem,) = problems(spec("<clock/>"), spec(xml.format(name="web-01.vda"), name="web-02"))
    assert problem.startswith("s/1.yaml:5: xml: image vms/web-01.vda is already used in s/0.yaml:1")


def test_a_mac_belongs_to_one_domain_in_whatever_words() -> None:
    def with_mac(mac: str) -> str:
        return f"<devices><interface type='bridge'><mac address='{mac}'/><source bridge='b'/></interface></devices>"

    nic = "interfaces:\n  - {network: n, mac: '52:54:00:00:00:0a'}\n"
    laid = "<devices><interface><mac address='52:54:00:00:00:0A'/><alias name='ua-x'/></interface></devices>"
    # What is laid over the domain's own interface, and a failover pair, are one domain's.
    assert domain(spec(laid + with_mac("52:54:00:00:00:0b") + with_mac("52:54:00:00:00:0b"), nic))
    for first in (spec(with_mac("52:54:00:00:00:0a")), spec("<clock/>", nic)):
        (problem,) = problems(first, spec(with_mac("52:54:00:00:00:0A"), name="web-02"))
        assert problem.startswith("s/1.yaml:5: xml: mac 52:54:00:00:00:0a is already used in s/0.yaml:1")


@pytest.mark.parametrize("screen", ["<graphics type='vnc' passwd='s3cr3t'/>", "<graphics type='spice' passwd=''/>"])
def test_a_password_is_refused_and_not_told(screen: str) -> None:
    (problem,) = problems(spec(f"<clock/>\n<devices>{screen}</devices>"))
    assert problem.startswith("s/0.yaml:7: xml: passwd does not belong into a spec")
    assert "virsh edit" in problem
    assert "s3cr3t" not in problem


FORBIDDEN = {
    "xml": (spec("<clock/>"), "s/0.yaml:5: xml"),
    "template": (f"{BEGIN}template: x.xml.j2\n", "s/0.yaml:5: template"),
    "ceph_config": (BEGIN + "    ceph_config: /etc/ceph/known.conf\n", "s/0.yaml:5: disks[0].ceph_config"),
    "hostdevs": (f"{BEGIN}hostdevs:\n  - usb: 1050:0407\n", "s/0.yaml:5: hostdevs"),
    "filesystems": (f"{BEGIN}filesystems:\n  - {{source: /etc, target: e}}\n", "s/0.yaml:5: filesystems"),
    "profile": (f"{BEGIN}uses: p\n", "s/profiles.yaml:2: xml"),
}


@pytest.mark.parametrize("word", FORBIDDEN)
def test_settings_forbid_what_makes_libvirt_reach_into_the_host(word: str) -> None:
    text, where = FORBIDDEN[word]
    profiles = "profiles:\n  p: {xml: <clock/>}\n" if word == "profile" else ""
    domain(text, profiles=profiles)
    (problem,) = problems(text, settings=replace(SETTINGS, trust_specs=False), profiles=profiles)
    assert problem == (
        f"{where}: /etc/virtrbd/virtrbd.yaml forbids it in specs (trust_specs: false); leave it out, or put it into a "
        f"profile of the settings"
    )


def test_settings_may_say_it_themselves(tmp_path: Path) -> None:
    file = tmp_path / "virtrbd.yaml"
    raw = b"trust_specs: false\nprofiles:\n  loud: {xml: <clock/>, disk: {ceph_config: /etc/ceph/x.conf}}\n"
    settings = Settings(host="kvm-1", file=str(file), raw=raw, trust_specs=False)
    assert domain(f"{BEGIN}uses: loud\n", settings=settings).xml


def test_explain_shows_each_element_with_its_line() -> None:
    text = spec("<clock>\n  <timer name='hpet' present='no'/>\n</clock>\n<devices>\n<sound model='ich9'/>\n</devices>")
    (item,) = loaded(text)
    shown = [each for each in explain(item, domain(text), SETTINGS) if each.field.startswith("xml")]
    assert [(each.field, each.value, each.source) for each in shown] == [
        ("xml/clock", '<clock> <timer name="hpet" present="no"/> </clock>', "s/0.yaml:6"),
        ("xml/devices/sound", '<sound model="ich9"/>', "s/0.yaml:10"),
    ]


def test_memory_is_taken_in_kib() -> None:
    text = BEGIN.replace("1G", "219100K")
    assert '<memory unit="KiB">219100</memory>' in rendered(text)
    (problem,) = problems(BEGIN.replace("1G", "1.5M\ncurrent_memory: 1000.5K"))
    assert problem.startswith("s/0.yaml:3: current_memory: not a whole number of KiB")
