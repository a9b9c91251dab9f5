"""Elements that change their type by one attribute: what belongs to the old type is removed first.

A bridge's source beside a network's, a qxl's memory beside a virtio's: libvirt would refuse it.
"""

from collections.abc import Collection, Iterator

from msgspec import Struct

from virtrbd.domainxml.tree import Element, attribute, children, remove, whole_number

# A path to drop; this one means all children and attributes.
_ALL = "*"
_CHOSEN_FIRMWARE = ("loader", "firmware")


class _Kind(Struct, frozen=True, kw_only=True):
    """The attribute `name` at `path` of elements of a tag; `drops` are paths, `@name` or `*`, to remove with it.

    `unsaid` is its value where there is none.
    """

    tag: str
    name: str
    path: str = "."
    unsaid: str = ""
    drops: tuple[str, ...]


_KINDS = (
    _Kind(tag="disk", name="type", drops=("source", "backingStore", "mirror")),
    # Another bus has other addresses, and other names for what libvirt calls the device.
    _Kind(tag="disk", name="bus", path="target", drops=("address", "alias")),
    _Kind(tag="interface", name="type", drops=("source", "virtualport", "backend", "target")),
    _Kind(tag="graphics", name="type", drops=(_ALL,)),
    _Kind(tag="video", name="type", path="model", drops=(_ALL,)),
    _Kind(tag="cpu", name="mode", drops=(_ALL,)),
    _Kind(tag="clock", name="offset", drops=("@timezone", "@adjustment", "@basis", "@start")),
    _Kind(tag="watchdog", name="model", drops=("address",)),
    _Kind(tag="tpm", name="type", path="backend", drops=("backend",)),
    _Kind(tag="tpm", name="model", drops=("address",)),
    _Kind(tag="memballoon", name="model", drops=(_ALL,)),
    _Kind(tag="rng", name="model", path="backend", drops=("backend",)),
    _Kind(tag="rng", name="model", drops=("address",)),
    _Kind(tag="controller", name="model", drops=("address",)),
    _Kind(tag="serial", name="type", drops=("source", "protocol", "log")),
    _Kind(tag="console", name="type", drops=("source", "protocol", "log")),
    _Kind(tag="channel", name="type", drops=("source", "protocol", "log")),
    _Kind(tag="hostdev", name="type", drops=(_ALL,)),
    _Kind(tag="filesystem", name="type", drops=("source", "driver", "binary")),
    # libvirt's virtiofs refuses most of what 9p has (qemuValidateDomainDeviceDefFS).
    _Kind(
        tag="filesystem",
        name="type",
        path="driver",
        unsaid="path",
        drops=("@multidevs", "@fmode", "@dmode", "driver", "readonly", "space_hard_limit", "space_soft_limit"),
    ),
)

_KINDS_BY_TAG = {tag: [kind for kind in _KINDS if kind.tag == tag] for tag in {kind.tag for kind in _KINDS}}


def switch_kind(found: Element, wanted: Element) -> None:
    """Remove from `found` what belongs to a type that it no longer has."""
    if wanted.find("source/auth") is not None:
        lift_auth(found)
    for kind in _other_kinds(found, wanted):
        _drop(found, kind.drops)


def is_other_kind(found: Element, wanted: Element) -> bool:
    """Whether `found` has a type that it should no longer have."""
    return any(_other_kinds(found, wanted))


def _other_kinds(found: Element, wanted: Element) -> Iterator[_Kind]:
    for kind in _KINDS_BY_TAG.get(str(wanted.tag), ()):
        if wanted.find(kind.path) is not None:
            want, have = (attribute(each, kind.path, kind.name) or kind.unsaid for each in (wanted, found))
            if have and want != have:
                yield kind


def lift_auth(disk: Element) -> None:
    """Move <auth> into <source>, where rendered documents have it; before libvirt 3.9 it was beside it.

    libvirt gives it back where it was written, treats both alike, and refuses a disk that has both.
    """
    auth, source = disk.find("auth"), disk.find("source")
    if auth is not None and source is not None and source.find("auth") is None:
        source.append(auth)


def switch_domain(root: Element, wanted: Element, *, is_uefi_ours: bool) -> None:
    """Remove from a definition what belongs to a firmware, a chipset or a number of vcpus that it will not have."""
    _switch_firmware(root, wanted, is_uefi_ours=is_uefi_ours)
    held, machine = attribute(root, "os/type", "machine"), attribute(wanted, "os/type", "machine")
    if _chipset(held) and _chipset(machine) and _chipset(held) != _chipset(machine):
        _drop_addresses(root)
    _switch_usb(root, wanted)
    _switch_vcpus(root, wanted)


def drop_orphans(root: Element) -> None:
    """Remove the <audio> that libvirt added for a spice screen when the screen is removed: libvirt refuses it alone."""
    if root.find("devices/graphics[@type='spice']") is None:
        for audio in root.findall("devices/audio[@type='spice']"):
            remove(audio)


def drop_implied_watchdog(root: Element, wanted: Element, own: Collection[Element]) -> None:
    """Remove the watchdog of q35's chipset, which libvirt shows from 9.1 on, when another is added.

    libvirt adds it again, with the other's action: it refuses two actions, and two such watchdogs.
    """
    asked = wanted.findall("devices/watchdog")
    ours = [each.get("model") for each in root.findall("devices/watchdog") if each in own]
    is_all_there_is = not ours and [each.get("model") for each in asked] in ([], ["itco"])
    if len(asked) > 1 or (is_all_there_is and _chipset(attribute(wanted, "os/type", "machine")) != "i440fx"):
        return
    for watchdog in root.findall("devices/watchdog[@model='itco']"):
        if watchdog not in own:
            remove(watchdog)


def _switch_firmware(root: Element, wanted: Element, *, is_uefi_ours: bool) -> None:
    """libvirt chooses the loader by <firmware>; the guest's variables stay while it has UEFI."""
    os, want = root.find("os"), wanted.find("os")
    if os is None or want is None:
        return
    if want.get("firmware") == "efi":
        is_other = _secure_boot(os) not in ("", _secure_boot(want))
        if os.get("firmware") != "efi" or is_other or (_is_stateless(os) and _keeps_variables(want)):
            _drop(os, _CHOSEN_FIRMWARE)
    elif os.get("firmware") == "efi" and is_uefi_ours:
        _drop(os, (*_CHOSEN_FIRMWARE, "nvram"))


def _secure_boot(os: Element) -> str:
    return attribute(os, "firmware/feature[@name='secure-boot']", "enabled")


def _is_stateless(os: Element) -> bool:
    return attribute(os, "loader", "type") == "rom" or attribute(os, "loader", "stateless") == "yes"


def _keeps_variables(os: Element) -> bool:
    return attribute(os, "loader", "stateless") == "no"


def _chipset(machine: str) -> str:
    if machine == "q35" or machine.startswith("pc-q35"):
        return "q35"
    return "i440fx" if machine == "pc" or machine.startswith("pc-i440fx") else ""


def _drop_addresses(root: Element) -> None:
    """On another chipset every address changes; libvirt chooses new ones."""
    for device in root.findall("devices/*"):
        if device.tag == "controller" and device.get("type") in ("pci", "ide", "sata", "usb"):
            remove(device)
        for address in device.findall("address[@type='pci']") + device.findall("address[@type='drive']"):
            device.remove(address)


def _switch_usb(root: Element, wanted: Element) -> None:
    """A USB 2 controller is several functions of one index; another model does not need its companions."""
    want = wanted.find("devices/controller[@type='usb'][@index='0']")
    held = root.findall("devices/controller[@type='usb'][@index='0']")
    if want is not None and held and want.get("model") not in {each.get("model") for each in held}:
        for companion in held[1:]:
            remove(companion)


def _switch_vcpus(root: Element, wanted: Element) -> None:
    """A list of single vcpus, or more vcpus at start than the maximum, would contradict the number."""
    vcpu, want = root.find("vcpu"), wanted.find("vcpu")
    if vcpu is None or want is None or (vcpu.text, vcpu.get("current")) == (want.text, want.get("current")):
        return
    _drop(root, ("vcpus",))
    if whole_number(vcpu.get("current"), 0) > whole_number(want.text, 1):
        vcpu.attrib.pop("current")


def _drop(element: Element, paths: tuple[str, ...]) -> None:
    for path in paths:
        if path.startswith("@"):
            element.attrib.pop(path[1:], "")
        elif path == _ALL:
            element.attrib.clear()
            for child in list(children(element)):
                element.remove(child)
        else:
            for child in element.findall(path):
                element.remove(child)
