"""A running guest held against what is desired: what differs, how it is mended, and what libvirt is given."""

import pytest

from virtrbd.domainxml.document import Definition, Document, LiveDocument, Rendered
from virtrbd.domainxml.ignoring import is_ignored, not_ignored, pruned
from virtrbd.domainxml.live import (
    Amount,
    current_memory,
    current_vcpus,
    live_edit,
    live_limits,
    titles,
    with_link,
    without_address,
)
from virtrbd.domainxml.live_drift import live_only_devices, media_of_others, words_of_others
from virtrbd.domainxml.mark import set_mark
from virtrbd.domainxml.own_devices import own_device, still_there
from virtrbd.domainxml.tree import parse_tree, to_text
from virtrbd.domainxml.update_modes import mend_of
from virtrbd.model.difference import Difference, Mend
from virtrbd.model.element_path import ElementPath
from virtrbd.model.mark import DomainMark

MARK = DomainMark(uuid="u", host="h")
NIC = "<interface type='bridge'><mac address='52:54:00:00:00:01'/>{link}</interface>"


def disk(target: str = "vda", bus: str = "virtio", *, kind: str = "disk", more: str = "") -> str:
    return f"<disk type='network' device='{kind}'>{more}<target dev='{target}' bus='{bus}'/></disk>"


def domain(*devices: str, head: str = "<memory unit='KiB'>1024</memory><vcpu>2</vcpu>", mark: str = "") -> str:
    text = f"<domain type='qemu'><name>a</name><uuid>u</uuid>{head}<devices>{''.join(devices)}</devices></domain>"
    root = parse_tree(text)
    if mark:
        set_mark(root, DomainMark(uuid="u", host="h", stated=tuple(map(ElementPath, mark.split()))))
    return to_text(root)


def found(live: str, desired: str, *, ignored: tuple[str, ...] = ()) -> list[tuple[str, Mend]]:
    mark = DomainMark(uuid="u", host="h", ignored=tuple(map(ElementPath, ignored)))
    return [
        (str(each.path), each.mend)
        for each in live_edit(LiveDocument(live), Definition(live), Rendered(desired), mark).differences
    ]


@pytest.mark.parametrize(
    ("live", "desired", "told"),
    [
        (domain(), domain(), []),
        (domain(), domain(disk()), [("/devices/disk:vda", Mend.LIVE)]),
        (domain(), domain(disk(bus="scsi")), [("/devices/disk:vda", Mend.LIVE)]),
        (domain(), domain(disk(bus="usb")), [("/devices/disk:vda", Mend.LIVE)]),
        (domain(), domain(disk(bus="ide")), [("/devices/disk:vda", Mend.NEXT_BOOT)]),
        (domain(), domain(disk(bus="sata")), [("/devices/disk:vda", Mend.NEXT_BOOT)]),
        (domain(disk(), mark="devices/disk:vda"), domain(), [("/devices/disk:vda", Mend.LIVE)]),
        (domain(disk(bus="ide"), mark="devices/disk:vda"), domain(), [("/devices/disk:vda", Mend.NEXT_BOOT)]),
        # Somebody else's: it stays, and is no difference.
        (domain(disk()), domain(), []),
        (domain(), domain(disk("sdb", "scsi", kind="cdrom")), [("/devices/disk:sdb", Mend.NEXT_BOOT)]),
        (domain(), domain(NIC), [("/devices/interface:52:54:00:00:00:01", Mend.LIVE)]),
        (domain(NIC.format(link="")), domain(NIC.format(link="<link state='down'/>")),
         [("/devices/interface:52:54:00:00:00:01/link", Mend.LIVE)]),
        (domain(), domain("<watchdog model='itco'/>"), [("/devices/watchdog", Mend.NEXT_BOOT)]),
        (domain(disk()), domain(disk(more="<iotune><read_iops_sec>5</read_iops_sec></iotune>")),
         [("/devices/disk:vda/iotune", Mend.LIVE)]),
        (domain(disk()), domain(disk(more="<driver cache='none'/>")), [("/devices/disk:vda/driver", Mend.NEXT_BOOT)]),
        (domain(disk(kind="cdrom", bus="sata")), domain(disk(kind="cdrom", bus="sata", more="<source name='p/i'/>")),
         [("/devices/disk:vda/source", Mend.LIVE)]),
        # Not that the guest sees its medium inserted once more.
        (domain(disk(kind="cdrom", bus="sata", more="<source><host name='10.0.0.1'/></source>")),
         domain(disk(kind="cdrom", bus="sata", more="<source><host name='10.0.0.2'/></source>")),
         [("/devices/disk:vda/source/host", Mend.NEXT_BOOT)]),
        # As guides write monitors.
        (domain(disk(more="<source><host name='fd00:0::1' port='6789'/><host name='10.0.0.1' port='3300'/></source>")),
         domain(disk(more="<source><host name='10.0.0.1'/><host name='fd00::1'/></source>")), []),
        (domain(disk(more="<source><host name='10.0.0.1' port='6790'/></source>")),
         domain(disk(more="<source><host name='10.0.0.1'/></source>")),
         [("/devices/disk:vda/source/host", Mend.NEXT_BOOT)]),
        (domain(disk()), domain(disk(more="<source name='p/i'/>")), [("/devices/disk:vda/source", Mend.NEXT_BOOT)]),
        (domain(), domain(head="<memory unit='KiB'>2048</memory><vcpu>2</vcpu>"), [("/memory", Mend.NEXT_BOOT)]),
        (domain(), domain(head="<memory unit='KiB'>1024</memory><vcpu current='1'>2</vcpu>"),
         [("/vcpu/@current", Mend.LIVE)]),
        (domain(), domain(head="<title>x</title><memory unit='KiB'>1024</memory><vcpu>2</vcpu>"),
         [("/title", Mend.LIVE)]),
    ],
)  # fmt: skip
def test_a_difference_says_how_it_is_mended(live: str, desired: str, told: list[tuple[str, Mend]]) -> None:
    assert found(live, desired) == told


def test_what_became_of_the_hosts_own_cpu_is_no_difference() -> None:
    head = "<memory unit='KiB'>1024</memory><vcpu>2</vcpu>{cpu}"
    live = domain(head=head.format(cpu="<cpu mode='custom'><model>EPYC</model></cpu>"), mark="cpu cpu/@mode")
    assert found(live, domain(head=head.format(cpu="<cpu mode='host-model'/>"))) == []
    nodes = "<cpu{}>{}<numa>{}</numa></cpu>"
    one, two = ("".join(f"<cell id='{n}' cpus='{n}'/>" for n in range(count)) for count in (1, 2))
    live = domain(head=head.format(cpu=nodes.format(" mode='custom'", "<model>EPYC</model>", one)), mark="cpu/numa")
    paths = [path for path, _ in found(live, domain(head=head.format(cpu=nodes.format(" mode='host-model'", "", two))))]
    assert paths, "its NUMA nodes are as they were when it started"
    passed_through = domain(head=head.format(cpu="<cpu mode='host-passthrough'/>"))
    assert found(passed_through, domain(head=head.format(cpu="<cpu mode='host-model'/>")))


UEFI = "<os{word}><type>hvm</type><loader readonly='yes' type='pflash'>/OVMF_CODE.fd</loader></os>"


@pytest.mark.parametrize("word", ["", " firmware='efi'"], ids=["libvirt 9", "libvirt 11"])
def test_a_running_uefi_guest_is_one_whether_libvirt_kept_the_word_or_not(word: str) -> None:
    live = domain(head=UEFI.format(word=word), mark="os/@firmware")
    assert found(live, domain(head="<os firmware='efi'><type>hvm</type></os>")) == []
    assert ("/os/@firmware", Mend.NEXT_BOOT) in found(live, domain(head="<os><type>hvm</type></os>"))
    # A loader that a template names is another way to say the same.
    assert found(domain(head=UEFI.format(word=word)), domain(head=UEFI.format(word=""))) == []


def test_a_guest_that_sets_its_clock_differs_in_nothing() -> None:
    """libvirt counts in the live XML by how much: measured with a boot sector that writes the RTC's hours."""
    head = "<memory unit='KiB'>1024</memory><vcpu>2</vcpu><clock {}/>"
    stated = "clock clock/@offset clock/@adjustment clock/@basis"
    live = domain(head=head.format("offset='variable' adjustment='10800' basis='utc'"), mark=stated)
    assert found(live, domain(head=head.format("offset='variable' adjustment='0' basis='utc'"))) == []
    assert [path for path, _ in found(live, domain(head=head.format("offset='utc'")))] == ["/clock/@offset"]


def test_what_is_ignored_is_no_difference() -> None:
    assert found(domain(), domain(disk()), ignored=("devices/disk:vda",)) == []
    assert found(domain(disk(), mark="devices/disk:vda"), domain(), ignored=("devices/disk:vda",)) == []


@pytest.mark.parametrize(
    ("held", "wanted", "limits"),
    [
        ("", "<read_iops_sec>5</read_iops_sec>", {"read_iops_sec": 5}),
        ("<read_iops_sec>5</read_iops_sec>", "", {"read_iops_sec": 0}),
        # libvirt would clear the write limit, were it not given again.
        ("<read_iops_sec>5</read_iops_sec><write_iops_sec>7</write_iops_sec>",
         "<read_iops_sec>6</read_iops_sec><write_iops_sec>7</write_iops_sec>",
         {"read_iops_sec": 6, "write_iops_sec": 7}),
        ("<total_iops_sec>5</total_iops_sec>", "<read_iops_sec>6</read_iops_sec>",
         {"read_iops_sec": 6, "total_iops_sec": 0}),
        ("", "<read_iops_sec>5</read_iops_sec><group_name>g</group_name>", {"read_iops_sec": 5, "group_name": "g"}),
        ("<read_iops_sec>5</read_iops_sec>", "<read_iops_sec>5</read_iops_sec>", {}),
    ],
)  # fmt: skip
def test_limits_are_given_whole(held: str, wanted: str, limits: dict[str, int | str]) -> None:
    stated = " ".join(f"devices/disk:vda/iotune/{limit.tag}" for limit in parse_tree(f"<x>{held}</x>"))
    live = domain(disk(more=f"<iotune>{held}</iotune>" if held else ""), mark=f"devices/disk:vda {stated}")
    desired = domain(disk(more=f"<iotune>{wanted}</iotune>" if wanted else ""))
    assert (
        live_limits(
            LiveDocument(live),
            Rendered(desired),
            "disk:vda",
            live_edit(LiveDocument(live), Definition(live), Rendered(desired), MARK).differences,
        )
        == limits
    )


def test_limits_are_of_one_disk() -> None:
    of_another = Difference(path=ElementPath("/devices/disk:vdb/iotune/read_iops_sec"), wanted="1", found="")
    assert live_limits(LiveDocument(domain(disk())), Rendered(domain(disk())), "disk:vda", (of_another,)) == {}


def test_devices_that_only_the_guest_has_are_somebodys() -> None:
    others = disk("vdb"), disk("vdc"), "<rng model='virtio'/>", "<controller type='scsi'/>"
    live, definition = domain(disk(), *others, mark="devices/disk:vdb"), domain(disk())
    assert live_only_devices(LiveDocument(live), Definition(definition), ()) == ("disk:vdc", "rng")
    unmarked = LiveDocument(domain(disk(), *others))
    assert live_only_devices(unmarked, Definition(definition), (ElementPath("/devices/disk:vdc"),)) == (
        "disk:vdb",
        "rng",
    )


def test_a_file_in_an_empty_drive_is_somebodys() -> None:
    empty = "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/></disk>"
    filled = empty.replace("<target", "<source file='/x.iso'/><target")
    assert media_of_others(LiveDocument(domain(filled)), Definition(domain(empty)), Rendered(domain(empty))) == (
        "disk:sda",
    )
    assert media_of_others(LiveDocument(domain(empty)), Definition(domain(empty)), Rendered(domain(empty))) == ()
    assert media_of_others(LiveDocument(domain(filled)), Definition(domain(filled)), Rendered(domain(empty))) == (), (
        "the definition tells of it"
    )


def test_words_that_the_running_domain_alone_has_are_somebodys() -> None:
    theirs = '<title>theirs</title><metadata><x:y xmlns:x="http://x.org" by="a"/></metadata>'
    live, bare, ours = domain(head=theirs), domain(head=""), domain(head="<title>ours</title>")
    changes = words_of_others(LiveDocument(live), Definition(bare), Rendered(bare))
    assert [(str(change.path), change.found) for change in changes] == [
        ("/title", "theirs"),
        ("/metadata/%7Bhttp:%2F%2Fx.org%7Dy", "by=a"),
    ]
    assert words_of_others(LiveDocument(live), Definition(live), Rendered(bare)) == (), "the definition tells of them"
    assert words_of_others(LiveDocument(live), Definition(bare), Rendered(ours)) == changes[1:]
    assert words_of_others(LiveDocument(bare), Definition(live), Rendered(bare)) == (), (
        "of a title for the next boot too"
    )
    marked = domain(head=theirs, mark="title")
    assert words_of_others(LiveDocument(marked), Definition(bare), Rendered(bare)) == changes[1:]


def test_an_empty_drive_has_no_format() -> None:
    drive = disk("sda", "sata", kind="cdrom", more="<driver name='qemu'{}/>")
    assert found(domain(drive.format("")), domain(drive.format(" type='raw'"))) == []


def test_a_path_into_a_device_that_is_gone_is_not_stated_any_more() -> None:
    paths = ("title", "devices/disk:vda", "devices/disk:vdb", "devices/disk:vdb/iotune/x")
    stated = tuple(map(ElementPath, paths))
    assert still_there(LiveDocument(domain(disk())), Definition(domain()), stated) == stated[:2]


def test_a_devices_element_is_given_as_libvirt_takes_it() -> None:
    held = domain(disk(more="<address type='pci'/>"))
    assert own_device(Definition(held), "disk:vdb") is None
    found = own_device(Definition(held), "disk:vda")
    assert found is not None
    device = to_text(found)
    assert "<address" in device
    assert "<address" not in without_address(parse_tree(device))


def test_a_link_is_up_unless_it_says_down() -> None:
    nic = NIC.format(link="<link state='down'/>")
    assert "<link" not in with_link(parse_tree(nic), up=True, is_stated=False)
    assert with_link(parse_tree(nic), up=True, is_stated=True).count('<link state="up"/>') == 1
    assert with_link(parse_tree(nic), up=False, is_stated=True).count('<link state="down"/>') == 1


def test_what_a_guest_has_of_memory_vcpus_and_titles() -> None:
    head = "<title>t</title><memory unit='KiB'>4</memory><currentMemory unit='KiB'>2</currentMemory>"
    live = domain(head=f"{head}<vcpu current='1'>3</vcpu>")
    assert current_memory(parse_tree(live)) == Amount(current=2048, most=4096)
    assert current_vcpus(parse_tree(live)) == Amount(current=1, most=3)
    assert titles(LiveDocument(live)) == {"title": "t", "description": ""}
    assert current_memory(parse_tree(domain())) == Amount(current=1024**2, most=1024**2)
    assert current_vcpus(parse_tree(domain())) == Amount(current=2, most=2)


def test_monitors_are_those_of_rbd_disks() -> None:
    source = "<source protocol='rbd' name='p/i'><host name='10.0.0.1' port='6789'/><host name='m'/></source>"
    assert Document(domain(disk(more=source))).monitors == {"10.0.0.1", "m"}
    assert Document(domain(disk(more="<source protocol='nbd'><host name='x'/></source>"))).monitors == frozenset()


@pytest.mark.parametrize(("path", "is_it"), [("/vcpu", True), ("/vcpu/@current", True), ("/vcpus", False)])
def test_a_path_is_ignored_with_all_below(path: str, is_it: bool) -> None:
    here, vcpu, other = map(ElementPath, (path, "vcpu", "os"))
    assert is_ignored(here, (vcpu,)) is is_it
    assert not_ignored((here, other), (vcpu,)) == ((other,) if is_it else (here, other))


def test_what_is_ignored_is_taken_out_of_a_document() -> None:
    xml = domain(disk(), disk("vdb"), head="<vcpu current='1'>2</vcpu>")
    whole = Rendered(xml)
    left = pruned(whole, tuple(map(ElementPath, ("vcpu/@current", "devices/disk:vdb", "no/such/path"))))
    assert left.text == domain(disk(), head="<vcpu>2</vcpu>")
    assert pruned(whole, ()) is whole


@pytest.mark.parametrize(
    ("path", "mend"),
    [("/uuid", Mend.REBUILD), ("/name", Mend.REBUILD), ("/os/type/@machine", Mend.NEXT_BOOT), ("/title", Mend.LIVE)],
)
def test_a_path_without_a_device_says_how_it_is_mended(path: str, mend: Mend) -> None:
    assert mend_of(ElementPath(path), None) is mend
