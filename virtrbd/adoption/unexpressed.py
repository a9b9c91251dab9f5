"""The rest of a definition that a rendered document does not express, without what libvirt adds by itself."""

import copy
from collections.abc import Iterator
from enum import Enum, auto

from lxml import etree
from msgspec import Struct

from virtrbd.domainxml.canonical import make_canonical
from virtrbd.domainxml.document import Definition, Rendered
from virtrbd.domainxml.libvirt_defaults import is_own, is_own_attribute
from virtrbd.domainxml.managed_paths import LISTS
from virtrbd.domainxml.order import out_of_order
from virtrbd.domainxml.overlay import one_line, overlay_text
from virtrbd.domainxml.tree import (
    Element,
    children,
    device_key,
    device_steps,
    devices_of,
    key_name,
    steps,
)
from virtrbd.domainxml.type_changes import lift_auth
from virtrbd.model.element_path import ElementPath

# What libvirt chooses on this host, and might choose differently on another day.
_CHOSEN = frozenset({"emulator", "loader", "nvram"})


class Places(Enum):
    """How much of libvirt's choices, such as addresses, is stated: nothing, the PCI controllers, or all of it."""

    CHOSEN = auto()
    CONTROLLERS = auto()
    SAID = auto()


class Unexpressed(Struct, frozen=True, kw_only=True):
    """An element or attribute of a definition that no field of a spec expresses; `why` where that is not obvious."""

    path: ElementPath
    xml: str
    why: str = ""


class UnexpressedXml(Struct, frozen=True, kw_only=True):
    """The XML of elements to merge into a rendered document, a line each; `weight` counts their content."""

    xml: str = ""
    unexpressed: tuple[Unexpressed, ...] = ()
    weight: int = 0


class _Rest(Struct, frozen=True, kw_only=True):
    """The part of an element that does not hold in `base`, its counterpart."""

    path: ElementPath
    element: Element
    base: Element | None = None


def unexpressed_xml(definition: Definition, rendered: Rendered, places: Places = Places.CHOSEN) -> UnexpressedXml:
    """Return what must be merged into the rendered document so that it has everything of the definition."""
    found, wanted = definition.copy(), rendered.copy()
    make_canonical(wanted)
    for disk in found.iterfind("devices/disk[@type='network']"):
        lift_auth(disk)
    held = dict(steps(wanted))
    tops = [
        _Rest(path=ElementPath(name), element=rest, base=held.get(name))
        for name, child in steps(found)
        if child.tag != "devices" and (rest := _rest(child, held.get(name), places)) is not None
    ]
    devices = list(_device_rests(found, wanted, places))
    return UnexpressedXml(
        xml=overlay_text([each.element for each in tops], [each.element for each in devices]),
        unexpressed=tuple(named for each in (*tops, *devices) for named in _named(each)),
        weight=sum(1 + len(element.attrib) for each in (*tops, *devices) for element in each.element.iter()),
    )


def _device_rests(found: Element, wanted: Element, places: Places) -> Iterator[_Rest]:
    """Devices without a key are expressed as a whole or not at all: it is unknown to which of them a part belongs."""
    keyed = {name: device for name, device in device_steps(wanted) if device_key(device)}
    left = [device for device in devices_of(wanted) if not device_key(device)]
    named = out_of_order(found, wanted)
    for name, device in device_steps(found):
        if device_key(device):
            rest = _rest(device, keyed.get(name), places)
            rest = etree.Element(device.tag) if rest is None and name in named else rest
            if rest is not None:
                _identify(rest, device)
                yield _Rest(path=ElementPath.of_device(name), element=rest, base=keyed.get(name))
            continue
        same = next((each for each in left if each.tag == device.tag and _is_all(device, each, places)), None)
        if same is not None:
            left.remove(same)
        elif (rest := _rest(device, None, places)) is not None:
            yield _Rest(path=ElementPath.of_device(name), element=rest)


def _is_all(found: Element, wanted: Element, places: Places) -> bool:
    """Whether both have the same content."""
    return _rest(found, wanted, places) is None and _rest(wanted, found, places) is None


def _is_own(element: Element, places: Places) -> bool:
    """Whether libvirt writes the element by itself, and so that nothing differs where it does it again."""
    if places is Places.SAID and element.tag in _CHOSEN:
        return False
    if places is Places.SAID and (element.tag == "address" or element.find("address") is not None):
        return _is_given_place(element)
    is_pci = element.tag == "controller" and element.get("type") == "pci"
    if is_pci and places is not Places.CHOSEN and element.get("index") != "0":
        return False
    return is_own(element)


def _is_given_place(element: Element) -> bool:
    """Whether the address is fixed: a disk has it by its target."""
    address = element if element.tag == "address" else element.find("address")
    return address is not None and address.get("type") == "drive" and is_own(element)


def _rest(found: Element, wanted: Element | None, places: Places) -> Element | None:
    """Return what of `found` does not hold in `wanted`, None where that is nothing."""
    if wanted is None and _is_own(found, places):
        return None
    rest = found.makeelement(found.tag, nsmap={name: uri for name, uri in found.nsmap.items() if name})
    for name, value in found.attrib.items():
        is_said = wanted is not None and wanted.get(name) == value
        if not is_said and not is_own_attribute(found, str(name)):
            rest.set(name, value)
    text = (found.text or "").strip()
    if text and (wanted is None or text != (wanted.text or "").strip()):
        rest.text = found.text
    rest.extend(_child_rests(found, wanted, places))
    # An empty element has a meaning: <acpi/>.
    says_itself = wanted is None and not found.attrib and next(children(found), None) is None
    if not (rest.attrib or rest.text or len(rest) or says_itself):
        return None
    # An entry of <oemStrings> has no name.
    if (key := key_name(found)) and key in found.attrib:
        rest.set(key, found.get(key, ""))
    return rest


def _child_rests(found: Element, wanted: Element | None, places: Places) -> Iterator[Element]:
    held = dict(steps(wanted)) if wanted is not None else {}
    listed = LISTS.get(str(found.tag))
    if listed and (wanted is None or _items(found, listed) != _items(wanted, listed)):
        yield from map(copy.deepcopy, found.findall(listed))
    for name, child in steps(found):
        if child.tag == listed:
            continue
        rest = _rest(child, held.get(name), places)
        if rest is not None:
            # A user without a secret, or the reverse, is useless.
            yield copy.deepcopy(child) if child.tag == "auth" else rest


def _items(element: Element, tag: str) -> list[list[str]]:
    return sorted(sorted(map(str, item.attrib.values())) for item in element.findall(tag))


def _identify(rest: Element, device: Element) -> None:
    """Give a part of a device the device's key."""
    if device_key(rest) == device_key(device):
        return
    for name in ("type", "index"):
        if device.tag == "controller" and name in device.attrib:
            rest.set(name, device.get(name, ""))
    for path, name in (
        ("target", "dev"),
        ("target", "name"),
        ("target", "dir"),
        ("target", "port"),
        ("target", "type"),
        ("mac", "address"),
    ):
        known = device.find(path)
        if known is not None and name in known.attrib and device_key(rest) != device_key(device):
            own = rest.find(path)
            own = etree.SubElement(rest, path) if own is None else own
            own.set(name, known.get(name, ""))
    if device.tag == "interface" and device_key(rest) != device_key(device):
        # Which half of a failover pair it is.
        rest.set("type", device.get("type", ""))
        rest.extend(copy.deepcopy(device.findall("teaming")) if rest.find("teaming") is None else [])


def _named(rest: _Rest) -> Iterator[Unexpressed]:
    """Name the parts of the rest for which the document has no place, and the values that differ."""
    element, base, path = rest.element, rest.base, rest.path
    if base is None:
        yield Unexpressed(path=path, xml=one_line(element))
        return
    known = key_name(element)
    for name, value in element.attrib.items():
        if name != known and base.get(name) != value:
            yield Unexpressed(path=path / f"@{name!s}", xml=f'{name!s}="{value!s}"')
    text = (element.text or "").strip()
    if text and text != (base.text or "").strip():
        yield Unexpressed(path=path, xml=text)
    listed, held = LISTS.get(str(element.tag)), dict(steps(base))
    if listed and (items := element.findall(listed)):
        yield Unexpressed(path=path / listed, xml="".join(map(one_line, items)))
    for name, child in steps(element):
        if child.tag == "auth":
            yield Unexpressed(path=path / name, xml=one_line(child))
        elif child.tag != listed:
            yield from _named(_Rest(path=path / name, element=child, base=held.get(name)))
