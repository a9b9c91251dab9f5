"""What is rendered twice is one: the later is laid over the earlier."""

from virtrbd.domainxml.document import Definition, Edited
from virtrbd.domainxml.duplicates import lay_parts
from virtrbd.domainxml.passwords import with_passwords
from virtrbd.domainxml.tree import parse_tree, to_text

QEMU = 'xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0"'


def laid(inner: str) -> str:
    root = parse_tree(f"<domain {QEMU}>{inner}</domain>")
    lay_parts(root)
    return to_text(parse_tree(to_text(root))).replace("\n", "").replace("  ", "").partition(">")[2]


def test_attributes_text_and_children_of_the_later_one_are_laid_over_the_earlier() -> None:
    assert laid(
        "<clock offset='utc'><timer name='rtc'/></clock><vcpu>2</vcpu><clock offset='localtime'>"
        "<timer name='rtc' track='guest'/><timer name='hpet'/></clock><vcpu cpuset='1'/>"
    ) == (
        '<clock offset="localtime"><timer name="rtc" track="guest"/><timer name="hpet"/></clock>'
        '<vcpu cpuset="1">2</vcpu></domain>'
    )


def test_devices_are_known_by_their_key_and_others_stay_apart() -> None:
    assert laid(
        "<devices><disk type='file'><target dev='vda' bus='scsi'/></disk><rng/><rng/>"
        "<disk><target dev='vda'/><serial>x</serial></disk><disk><target dev='vdb'/></disk></devices>"
    ) == (
        '<devices><disk type="file"><target dev="vda" bus="scsi"/><serial>x</serial></disk><rng/><rng/>'
        '<disk><target dev="vdb"/></disk></devices></domain>'
    )


def test_the_functions_of_a_usb_2_controller_stay_apart() -> None:
    companions = '<controller type="usb" model="ich9-ehci1"/><controller type="usb" model="ich9-uhci1"/>'
    assert laid(f"<devices>{companions}</devices>") == f"<devices>{companions}</devices></domain>"


def test_monitors_and_user_are_each_one_value() -> None:
    assert laid(
        "<devices><disk><target dev='vda'/><source name='a'><host name='m'/><auth username='u'>"
        "<secret uuid='1'/></auth></source></disk><disk><target dev='vda'/><source><host name='n'/><host name='o'/>"
        "<auth username='v'><secret usage='2'/></auth></source></disk></devices>"
    ) == (
        '<devices><disk><target dev="vda"/><source name="a"><auth username="v"><secret usage="2"/></auth>'
        '<host name="n"/><host name="o"/></source></disk></devices></domain>'
    )


def test_what_may_stand_more_than_once_is_added() -> None:
    assert laid("<os><boot dev='hd'/></os><os><boot dev='network'/><boot dev='cdrom'/></os>") == (
        '<os><boot dev="hd"/><boot dev="network"/><boot dev="cdrom"/></os></domain>'
    )


def test_qemu_arguments_are_added_once() -> None:
    assert laid(
        "<qemu:commandline><qemu:arg value='-a'/></qemu:commandline><qemu:commandline><qemu:arg value='-a'/>"
        "<qemu:arg value='-b'/><qemu:arg value='c'/></qemu:commandline>"
    ) == (
        '<qemu:commandline><qemu:arg value="-a"/><qemu:arg value="-b"/><qemu:arg value="c"/></qemu:commandline>'
        "</domain>"
    )


def test_the_password_of_a_screen_goes_back_to_the_same_screen() -> None:
    held = "<domain><devices><graphics type='spice' passwd='a'/><graphics type='vnc' passwd='b'/></devices></domain>"
    new = "<domain><devices><graphics type='vnc' port='-1'/><graphics type='vnc'/></devices></domain>"
    assert [screen.get("passwd") for screen in with_passwords(Edited(new), Definition(held)).tree.iter("graphics")] == [
        "b",
        None,
    ]
