"""virtrbd's devices among others of the same key: ours are changed and taken away, theirs stay as they are."""

import copy
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from support.xml import at, parent_of

from virtrbd.domainxml.canonical_text import quick_canonical_text
from virtrbd.domainxml.document import Definition, Edited, LiveDocument, Rendered
from virtrbd.domainxml.drift import foreign_changes
from virtrbd.domainxml.edit import Edit, edit_definition
from virtrbd.domainxml.live import live_edit
from virtrbd.domainxml.managed_paths import every_path, stated_paths
from virtrbd.domainxml.mark import mark_text, set_mark
from virtrbd.domainxml.own_devices import device_at, live_mark, own_device, place_of, rendered_places, settled, twins
from virtrbd.domainxml.render import render
from virtrbd.domainxml.tree import Element, device_key, devices_of, parse_tree, to_text
from virtrbd.model.cluster import ClusterFacts, Monitor
from virtrbd.model.devices import Graphics, Interface, Watchdog
from virtrbd.model.difference import Mend
from virtrbd.model.disk import Bus, Disk
from virtrbd.model.domain import Domain
from virtrbd.model.element_path import ElementPath
from virtrbd.model.fitted import Fitted
from virtrbd.model.image import ImageRef
from virtrbd.model.mark import DomainMark, ForeignChange
from virtrbd.model.record import replace

CLUSTER = ClusterFacts(fsid="f", monitors=(Monitor(address="10.0.0.1"),), user="virtrbd")
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
MAC = DOMAIN.interfaces[0].mac
TEAMING = "<teaming type='transient' persistent='ua-a'/>"
HALF = f"<interface type='{{}}'><mac address='{MAC}'/>{{}}{TEAMING}</interface>"
PLAIN = f"<interface type='bridge'><mac address='{MAC}'/><source bridge='{{}}'/><model type='virtio'/></interface>"
SERIAL = "<serial type='{}'><source path='/x'/><target type='{}' port='0'/></serial>"
CHANNEL = "<channel type='file'><source path='/x'/><target type='virtio'{}/></channel>"
RNG = "<rng model='virtio'><backend model='random'>{}</backend></rng>"
SOURCE = "<source><address type='pci' domain='0x0000' bus='0x41' slot='0x00' function='0x0'/></source>"
THEIRS = {
    "the host's half of a failover pair": HALF.format("hostdev", SOURCE),
    "the half on a pool of the host's devices": HALF.format("network", "<source network='pool'/>"),
    "a host device of a failover pair": f"<hostdev type='pci'>{SOURCE}{TEAMING}</hostdev>",
    "an interface of the same MAC": PLAIN.format("br9"),
    "the very same interface": PLAIN.format("br0"),
    "a serial port of the same number": SERIAL.format("file", "isa-serial"),
    "a USB serial port of the same number": SERIAL.format("pty", "usb-serial"),
    "a console of the same number": "<console type='file'><target type='virtio' port='0'/></console>",
    "an agent's channel": CHANNEL.format(" name='org.qemu.guest_agent.0'"),
    "a channel without a name": CHANNEL.format(""),
    "the very same rng": RNG.format("/dev/urandom"),
    "another rng": RNG.format("/dev/random"),
    "a screen of another kind": "<graphics type='spice' autoport='yes'/>",
    "a second card": "<video><model type='virtio'/></video>",
}
SPECS = st.builds(
    replace,
    st.just(DOMAIN),
    interfaces=st.sampled_from(
        [
            DOMAIN.interfaces,
            DOMAIN.interfaces[1:],
            (),
            (replace(DOMAIN.interfaces[0], bridge="br5", queues=2),),
            (*DOMAIN.interfaces, Interface(mac="52:54:00:00:00:03", network="lan")),
        ]
    ),
    serial_console=st.booleans(),
    guest_agent=st.booleans(),
    rng=st.booleans(),
    watchdog=st.sampled_from([None, Watchdog(model="ib700", action="none")]),
    graphics=st.sampled_from([None, Graphics(kind="vnc"), Graphics(kind="vnc", port=5950)]),
    title=st.sampled_from(["", "another"]),
    machine=st.sampled_from(["pc", "q35"]),
)


def rendered(domain: Domain) -> str:
    return render(Fitted(domain=domain), CLUSTER, "11111111-1111-1111-1111-111111111111").text


def mark_for(xml: str) -> DomainMark:
    return DomainMark(uuid=DOMAIN.uuid, host="h", stated=stated_paths(Rendered(xml)))


def with_addresses(root: Element) -> Element:
    """As libvirt does: each device that has none gets one, but serial ports, screens and consoles."""
    taken = {address.get("slot") for address in root.iterfind("devices/*/address")}
    free = (hex(slot) for slot in range(1, 99) if hex(slot) not in taken)
    for device in devices_of(root):
        if device.tag not in ("serial", "graphics", "console") and device.find("address") is None:
            etree.SubElement(device, "address", type="pci", slot=next(free))
    return root


def defined(domain: Domain) -> str:
    """A definition that is all virtrbd's, as libvirt gives it back, and as virtrbd marks it then."""
    xml = rendered(domain)
    root = with_addresses(parse_tree(xml))
    set_mark(root, settled(Definition(to_text(root)), replace(mark_for(xml), places=rendered_places(Rendered(xml)))))
    return to_text(root)


def joined(definition: str, theirs: Sequence[str], place: int) -> str:
    """What others made of it: their devices stand before, between or behind virtrbd's."""
    root = parse_tree(definition)
    devices = at(root, "devices")
    assert devices is not None
    for text in theirs:
        device = etree.fromstring(text)
        device.set("theirs", "yes")
        devices.insert(min(place, len(devices)), device)
    return to_text(with_addresses(root))


def edited(definition: str, domain: Domain, mark: DomainMark | None = None) -> Edit:
    wanted = rendered(domain)
    return edit_definition(
        Definition(definition), Rendered(wanted), mark or Definition(definition).mark, mark_for(wanted)
    )


def of_others(xml: str) -> list[str]:
    """Their devices; another chipset has other addresses."""
    found = []
    for device in copy.deepcopy(devices_of(parse_tree(xml))):
        if device.get("theirs"):
            for address in device.findall("address"):
                device.remove(address)
            device.tail = None
            found.append(quick_canonical_text(device))
    return found


@settings(max_examples=300, deadline=None)
@given(
    before=SPECS,
    after=SPECS,
    theirs=st.lists(st.sampled_from([*THEIRS.values()]), max_size=4),
    place=st.integers(0, 12),
    is_older=st.booleans(),
)
def test_what_others_have_stays_as_it_is_or_nothing_is_touched(
    before: Domain, after: Domain, theirs: list[str], place: int, is_older: bool
) -> None:
    definition = joined(defined(before), theirs, place)
    mark = Definition(definition).mark
    assert mark is not None
    if is_older:
        mark = replace(mark, places=())
    edit = edited(definition, after, mark)
    assert edit.unclear or edit.taken or of_others(edit.document.text) == of_others(definition)
    if not is_older:
        # A device that the spec newly asks for may be any of several that others gave the domain.
        theirs_alone = {key for key in twins(Definition(definition)) if ElementPath.of_device(key) not in mark.stated}
        assert edit.left == ()
        assert set(edit.unclear) <= theirs_alone
    if edit.unclear:
        return
    # And what is virtrbd's is as the spec says, so that the next run finds nothing to do.
    root = with_addresses(parse_tree(edit.document.text))
    held = Definition(to_text(root)).mark
    assert held is not None
    set_mark(root, settled(Definition(to_text(root)), replace(held, stated=mark_for(rendered(after)).stated)))
    again = edited(to_text(root), after)
    assert (again.differences, again.unclear, again.left) == ((), (), ())
    # Nor does what virtrbd made stay when nothing of it is stated any more.
    bare = replace(DOMAIN, interfaces=(), serial_console=False, guest_agent=False, rng=False)
    # Of two that are the very same an older mark does not say which one that is.
    if not edit.taken and not is_older:
        last = edited(to_text(root), bare)
        left = {device.tag for device in devices_of(parse_tree(last.document.text)) if not device.get("theirs")}
        assert left <= {"disk", "controller"}


@pytest.mark.parametrize("name", THEIRS)
@pytest.mark.parametrize("place", [0, 99])
def test_taking_ours_out_leaves_theirs(name: str, place: int) -> None:
    before = replace(DOMAIN, serial_console=True, guest_agent=True, rng=True, graphics=Graphics(kind="vnc"))
    after = replace(DOMAIN, interfaces=(), serial_console=False, guest_agent=False, rng=False, graphics=None)
    definition = joined(defined(before), [THEIRS[name]], place)
    edit = edited(definition, after)
    assert of_others(edit.document.text) == of_others(definition)
    assert (edit.unclear, edit.left) == ((), ())
    assert {device.get("theirs") for device in devices_of(parse_tree(edit.document.text)) if device.tag != "disk"} == {
        "yes"
    }


def test_an_older_mark_does_not_say_which_of_two_is_ours() -> None:
    definition = joined(defined(DOMAIN), [PLAIN.format("br9")], 0)
    mark = Definition(definition).mark
    assert mark is not None
    older = replace(mark, places=())
    assert edited(definition, replace(DOMAIN, interfaces=()), older).unclear == (f"interface:{MAC}",)
    # What is as the spec says is ours, and what nobody else can have made.
    assert edited(definition, DOMAIN, older).differences == ()
    queues = replace(DOMAIN, interfaces=(replace(DOMAIN.interfaces[0], queues=2), DOMAIN.interfaces[1]))
    twin = joined(defined(queues), [PLAIN.format("br9")], 0)
    mark = Definition(twin).mark
    assert mark is not None
    edit = edited(twin, replace(DOMAIN, interfaces=DOMAIN.interfaces[1:]), replace(mark, places=()))
    assert of_others(edit.document.text) == of_others(twin)
    assert edit.unclear == ()


def test_what_took_the_place_of_ours_by_its_key_is_not_taken_out() -> None:
    root = parse_tree(joined(defined(DOMAIN), [PLAIN.format("br9")], 99))
    for device in devices_of(root):
        if device.tag == "interface" and at(device, "mac").get("address") == MAC and not device.get("theirs"):
            parent_of(device).remove(device)
    edit = edited(to_text(root), replace(DOMAIN, interfaces=DOMAIN.interfaces[1:]))
    assert (edit.left, edit.differences) == ((f"interface:{MAC}",), ())
    assert edited(to_text(root), DOMAIN).taken == (f"interface:{MAC}",)
    assert of_others(edit.document.text) == of_others(to_text(root))


def test_a_stated_interface_that_others_made_is_taken_over_only_where_that_changes_it() -> None:
    without = defined(replace(DOMAIN, interfaces=DOMAIN.interfaces[1:]))
    assert edited(joined(without, [PLAIN.format("br0")], 99), DOMAIN).taken == ()
    assert edited(joined(without, [PLAIN.format("br9")], 99), DOMAIN).taken == (f"interface:{MAC}",)
    assert edited(joined(without, [HALF.format("hostdev", SOURCE)], 0), DOMAIN).taken == ()


def test_a_serial_ports_console_comes_before_those_of_others() -> None:
    """libvirt: "Only the first console can be a serial port"."""
    without = defined(replace(DOMAIN, serial_console=False))
    theirs = THEIRS["a console of the same number"]
    edit = edited(joined(without, [theirs], 0), replace(DOMAIN, serial_console=True))
    consoles = parse_tree(edit.document.text).findall("devices/console")
    assert [console.get("theirs") for console in consoles] == [None, "yes"]


def test_an_older_mark_is_read_by_the_keys_of_today() -> None:
    template = joined(defined(DOMAIN), [HALF.format("hostdev", SOURCE)], 99)
    half = f"devices/interface:{MAC}"
    paths = (
        half,
        f"{half}/source/address/@type",
        f"{half}/teaming/@persistent",
        "devices/channel:",
        "devices/console:0",
    )
    text = template.replace(f"<mac address='{MAC}'/>", "").replace("</devices>", f"{CHANNEL.format('')}</devices>")
    root = parse_tree(text)
    for device in devices_of(root):
        if device.tag == "interface" and not device.get("theirs"):
            parent_of(device).remove(device)
    stated, ignored = map(ElementPath, paths), ElementPath("/devices/channel:/source")
    set_mark(root, DomainMark(uuid=DOMAIN.uuid, host="h", stated=tuple(stated), ignored=(ignored,)))
    mark = Definition(to_text(root)).mark
    assert mark is not None
    assert [each.text for each in mark.ignored] == ["devices/channel/source"]
    assert [each.text for each in mark.stated] == [
        f"devices/interface:hostdev:{MAC}",
        f"devices/interface:hostdev:{MAC}/source/address/@type",
        f"devices/interface:hostdev:{MAC}/teaming/@persistent",
        "devices/channel",
        "devices/console:0",
    ]


def test_ours_that_is_gone_is_not_the_others_half_of_a_pair() -> None:
    """The kind of it: an older version knew both halves by the MAC alone."""
    root = parse_tree(joined(defined(DOMAIN), [HALF.format("hostdev", SOURCE)], 99))
    for device in devices_of(root):
        if device.tag == "interface" and not device.get("theirs"):
            parent_of(device).remove(device)
    older = replace(mark_for(rendered(DOMAIN)), places=())
    set_mark(root, older)
    edit = edited(to_text(root), replace(DOMAIN, interfaces=()))
    assert of_others(edit.document.text) == of_others(to_text(root))


def test_where_a_device_is_comes_back_with_the_mark() -> None:
    definition = defined(replace(DOMAIN, graphics=Graphics(kind="vnc")))
    mark = Definition(definition).mark
    assert mark is not None
    places = dict(mark.places)
    assert places[f"interface:{MAC}"] == "pci 0x2"
    assert places["graphics"].startswith("=")
    assert "disk:vda" not in places
    assert 'at="pci 0x2"' in mark_text(mark)


def test_a_running_guests_mark_forgets_what_is_gone_though_another_has_its_key() -> None:
    definition = joined(defined(DOMAIN), [PLAIN.format("br9")], 0)
    mark = Definition(definition).mark
    assert mark is not None
    own = own_device(Definition(definition), f"interface:{MAC}")
    assert own is not None
    assert at(own, "source").get("bridge") == "br0"
    seen = {f"interface:{MAC}": place_of(own)}
    found = device_at(LiveDocument(definition), f"interface:{MAC}", place_of(own))
    assert found is not None
    assert found.get("theirs") is None
    root = parse_tree(definition)
    for device in devices_of(root):
        if place_of(device) == place_of(own):
            parent_of(device).remove(device)
    after = live_mark(LiveDocument(to_text(root)), Definition(definition), mark.stated, seen)
    assert after is not None
    assert ElementPath.of_device(f"interface:{MAC}") not in after.stated
    assert ElementPath.of_device(f"interface:{DOMAIN.interfaces[1].mac}") in after.stated


@pytest.mark.parametrize("place", [0, 99])
def test_of_a_running_guest_ours_is_changed_and_goes_by_its_place(place: int) -> None:
    definition = defined(DOMAIN)
    own = own_device(Definition(definition), f"interface:{MAC}")
    assert own is not None
    live = joined(definition, [PLAIN.format("br9")], place)
    down = replace(DOMAIN, interfaces=(replace(DOMAIN.interfaces[0], link="down"), DOMAIN.interfaces[1]))
    for domain, path in ((down, "/link"), (replace(DOMAIN, interfaces=DOMAIN.interfaces[1:]), "")):
        edit = live_edit(
            LiveDocument(live), Definition(definition), Rendered(rendered(domain)), mark_for(rendered(domain))
        )
        where = f"/devices/interface:{MAC}{path}"
        assert [(str(each.path), each.mend) for each in edit.differences] == [(where, Mend.LIVE)]
        assert edit.places[f"interface:{MAC}"] == place_of(own)
        assert edit.unclear == ()


def test_a_device_that_others_gave_the_guest_alone_is_not_changed_for_ours() -> None:
    bare = replace(DOMAIN, interfaces=())
    live = joined(defined(bare), [PLAIN.format("br9")], 99)
    edit = live_edit(
        LiveDocument(live), Definition(defined(DOMAIN)), Rendered(rendered(DOMAIN)), mark_for(rendered(DOMAIN))
    )
    assert [str(each.path) for each in edit.differences] == [f"/devices/interface:{DOMAIN.interfaces[1].mac}"]
    assert edit.unclear == (f"interface:{MAC}",)


@pytest.mark.parametrize("place", [0, 99])
def test_what_others_added_is_told_by_one_path_until_ours_goes_and_by_its_own_then(place: int) -> None:
    last = defined(DOMAIN)
    definition = joined(last, [PLAIN.format("br9")], place)

    def told(after: Domain, before: str, known: tuple[ForeignChange, ...]) -> tuple[ForeignChange, ...]:
        stated = every_path(Rendered(rendered(after)))
        return foreign_changes(
            Definition(last),
            Definition(before),
            Edited(edited(before, after).document.text),
            known,
            stated=stated,
            ignored=(),
        )

    found = told(DOMAIN, definition, ())
    assert [str(change.path) for change in found] == [f"/devices/interface:{MAC}#2"]
    without = replace(DOMAIN, interfaces=DOMAIN.interfaces[1:])
    assert [str(change.path) for change in told(without, definition, found)] == [f"/devices/interface:{MAC}"]


def test_what_the_spec_has_more_of_than_the_definition_is_nobodys_change() -> None:
    bare, more = replace(DOMAIN, interfaces=(), rng=False), rendered(DOMAIN)
    definition = defined(bare)
    found = foreign_changes(
        Definition(more),
        Definition(definition),
        Edited(edited(definition, DOMAIN).document.text),
        (),
        stated=every_path(Rendered(more)),
        ignored=(),
        is_upgraded=True,
    )
    assert found == ()


def test_where_a_device_came_again_is_known_though_a_run_was_cut_off() -> None:
    definition = defined(DOMAIN)
    live, mark = parse_tree(definition), Definition(definition).mark
    assert mark is not None
    set_mark(live, replace(mark, places=tuple((name, "pci 0x77") for name, _ in mark.places)))
    after = live_mark(LiveDocument(to_text(live)), Definition(definition), mark.stated, {})
    assert after is not None
    assert (after.places, after.stated) == (mark.places, mark.stated)


def test_what_was_attached_elsewhere_than_the_mark_says_is_ours_and_has_its_place() -> None:
    definition = defined(DOMAIN)
    mark = Definition(definition).mark
    assert mark is not None
    live = parse_tree(definition)
    interfaces = live.findall("devices/interface")
    # The first is where the second was, and the second where nothing was.
    for interface, slot in zip(interfaces, ("0x3", "0x77"), strict=True):
        address = interface.find("address")
        assert address is not None
        address.set("slot", slot)
    set_mark(live, mark)
    seen = {f"interface:{each.mac}": "" for each in DOMAIN.interfaces}
    after = live_mark(LiveDocument(to_text(live)), Definition(definition), mark.stated, {**seen, "disk:vdz": ""})
    assert after is not None
    assert after.stated == mark.stated
    places = dict(after.places)
    assert [places[name] for name in seen] == ["pci 0x3", "pci 0x77"]


def test_twins_are_named() -> None:
    assert twins(Definition(joined(defined(DOMAIN), [PLAIN.format("br9"), HALF.format("hostdev", SOURCE)], 0))) == (
        f"interface:{MAC}",
    )
    assert twins(Definition(defined(DOMAIN))) == ()


def test_a_number_is_the_same_with_zeros_before_it() -> None:
    for said, held in (
        ('<controller type="scsi" index="03"/>', '<controller type="scsi" index="3"/>'),
        ('<serial type="pty"><target port="00"/></serial>', '<serial type="pty"><target port="0"/></serial>'),
    ):
        assert device_key(parse_tree(said)) == device_key(parse_tree(held))
