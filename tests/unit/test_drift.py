"""What others changed in a definition: found element by element, kept as long as it holds."""

import pytest

from virtrbd.domainxml.document import Definition, Edited
from virtrbd.domainxml.drift import UNKNOWN, foreign_changes
from virtrbd.model.element_path import ElementPath
from virtrbd.model.mark import ForeignChange

LAST = """<domain type='qemu'><name>web</name><memory unit='KiB'>1024</memory><vcpu>2</vcpu>
<devices><disk type='network'><target dev='vda' bus='virtio'/></disk></devices></domain>"""
WATCHDOG = "<watchdog model='itco' action='reset'/>"
ADDED = ForeignChange(path=ElementPath("/devices/watchdog"), was="", found="model=itco action=reset")


def changes(
    now: str,
    *,
    last: str | None = LAST,
    edited: str = "",
    known: tuple[ForeignChange, ...] = (),
    stated: tuple[str, ...] = (),
    ignored: tuple[str, ...] = (),
) -> list[str]:
    found = foreign_changes(
        Definition(last) if last is not None else None,
        Definition(now),
        Edited(edited or now),
        known,
        stated=tuple(map(ElementPath, stated)),
        ignored=tuple(map(ElementPath, ignored)),
    )
    return [str(change) for change in found]


def with_device(device: str, xml: str = LAST) -> str:
    return xml.replace("</devices>", f"{device}</devices>")


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (LAST, []),
        (with_device(WATCHDOG), ["/devices/watchdog: absent -> model=itco action=reset"]),
        (LAST.replace("<vcpu>", "<vcpu current='1'>"), ["/vcpu/@current: absent -> 1"]),
        (LAST.replace(">2</vcpu>", ">3</vcpu>"), ["/vcpu: 2 -> 3"]),
        (LAST.replace("bus='virtio'", "bus='scsi'"), ["/devices/disk:vda/target/@bus: virtio -> scsi"]),
        (LAST.replace("<vcpu>2</vcpu>", ""), ["/vcpu: 2 -> absent"]),
        # libvirt gives a new device an address, and a bus to stand on.
        (with_device("<controller type='pci' index='9'/>"), []),
        (LAST.replace("</disk>", "<address type='pci' slot='0x4'/><alias name='x'/></disk>"), []),
    ],
    ids=["nothing", "device", "attribute", "text", "of a device", "gone", "controller", "address"],
)
def test_a_change_is_told_with_what_was_and_what_is(now: str, told: list[str]) -> None:
    assert changes(now) == told


def test_what_the_spec_states_is_put_back_and_not_foreign() -> None:
    assert changes(LAST.replace(">2<", ">3<"), stated=("vcpu",)) == []


def test_what_goes_when_something_is_put_back_is_not_foreign_either() -> None:
    """`virsh setvcpus 3 --maximum; setvcpus 1`: with the number of vcpus libvirt's current number goes."""
    now = LAST.replace("<vcpu>2<", "<vcpu current='1'>3<")
    assert changes(now, edited=LAST, stated=("vcpu",)) == []


def test_what_was_told_is_known_as_long_as_it_is_there() -> None:
    now = with_device(WATCHDOG)
    assert changes(now, last=now, known=(ADDED,)) == [str(ADDED)]
    assert changes(LAST, last=now, known=(ADDED,)) == []
    # Whoever took it away, and whether or not that was seen.
    assert changes(LAST, last=LAST, known=(ADDED,)) == []


def test_what_changed_twice_is_told_from_its_beginning_to_its_end() -> None:
    once, twice = (LAST.replace(">2</vcpu>", f">{n}</vcpu>") for n in (3, 4))
    known = (ForeignChange(path=ElementPath("/vcpu"), was="2", found="3"),)
    assert changes(twice, last=once, known=known) == ["/vcpu: 2 -> 4"]
    assert changes(LAST, last=once, known=known) == [], "somebody put it back himself"


def test_what_is_added_and_changed_later_is_still_an_addition() -> None:
    was, now = with_device(WATCHDOG), with_device(WATCHDOG.replace("reset", "none"))
    told = changes(now, last=was, known=(ADDED,))
    assert told == [str(ADDED), "/devices/watchdog/@action: reset -> none"]
    later = ForeignChange(path=ElementPath("/devices/watchdog/@action"), was="reset", found="none")
    assert changes(LAST, last=now, known=(ADDED, later)) == [], "nothing is left of it, its parts included"


@pytest.mark.parametrize("ignored", ["devices/watchdog", "devices"])
def test_what_is_ignored_is_not_told(ignored: str) -> None:
    assert changes(with_device(WATCHDOG), ignored=(ignored,)) == []


def test_without_the_last_definition_only_that_something_changed_is_known() -> None:
    assert changes(LAST, last=None) == [str(UNKNOWN)]
    assert changes(LAST, known=(UNKNOWN,)) == [str(UNKNOWN)], "until a person says that it is seen"


def test_what_a_new_libvirt_adds_by_itself_is_nobodys_change() -> None:
    nic = "<interface type='bridge'><mac address='52:54:00:00:00:01'/></interface>"
    now = with_device(f"{WATCHDOG}{nic}").replace("<vcpu>2", "<vcpu>3")
    found = foreign_changes(Definition(LAST), Definition(now), Edited(now), (), stated=(), ignored=(), is_upgraded=True)
    assert [str(change.path) for change in found] == ["/devices/interface:52:54:00:00:00:01", "/vcpu"]


def test_another_device_of_the_host_is_a_change() -> None:
    hostdev = "<hostdev type='pci'><source><address bus='0x41'/></source><address slot='0x5'/></hostdev>"
    before, after = with_device(hostdev), with_device(hostdev.replace("0x41", "0x42").replace("0x5", "0x6"))
    found = foreign_changes(Definition(before), Definition(after), Edited(after), (), stated=(), ignored=())
    assert [str(change) for change in found] == ["/devices/hostdev/source/address/@bus: 0x41 -> 0x42"]


def test_a_controller_is_libvirts_own_unless_somebody_tuned_it() -> None:
    assert changes(with_device("<controller type='scsi' index='1'/>")) == []
    tuned = with_device("<controller type='scsi' index='1'><driver queues='4'/></controller>")
    assert changes(tuned) == ["/devices/controller:scsi:1: absent -> type=scsi index=1"]


def test_what_was_added_and_then_emptied_is_still_there_and_told() -> None:
    said, empty = (LAST.replace("<memory", f"{note}<memory") for note in ("<note>by hand</note>", "<note/>"))
    added = ForeignChange(path=ElementPath("/note"), was="", found="by hand")
    assert changes(empty, last=said, known=(added,)) == ["/note: absent -> present"]
    assert changes(empty, last=said) == ["/note: by hand -> present"]
    assert changes(said, last=empty) == ["/note: present -> by hand"]
