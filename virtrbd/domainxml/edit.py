"""A redefinition is an edit of what libvirt holds, never a replacement.

Defining the rendered XML afresh moves every PCI device to a new slot, bumps an old machine version to today's
and drops what others added. So the desired tree is laid into libvirt's own: what it states must hold there, what
it does not state stays.
"""

import copy
from dataclasses import dataclass

from virtrbd.domainxml.mark import set_mark
from virtrbd.domainxml.tree import Element, device_key, devices_of, parse_tree, to_text
from virtrbd.model.domain import DomainMark
from virtrbd.model.plan import Difference

# The agent's socket path is libvirt's to choose; the children of these are whole lists, compared as one value.
_LISTS = frozenset({"source"})

# What a spec may state of a device or not: it goes when the spec has it no more, unless somebody else put it there.
_OPTIONAL = {"disk": ("boot", "readonly", "shareable", "source/snapshot")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A definition edited: the XML to define and every difference that was mended in it."""

    xml: str
    differences: tuple[Difference, ...]


def device_keys(xml: str) -> tuple[str, ...]:
    """Return the keys of all devices in a document and of their optional parts (`disk:vda/boot`), sorted."""
    return tuple(sorted(_keyed(parse_tree(xml))))


def _keyed(root: Element) -> dict[str, Element]:
    """Return the devices and their optional parts by key: what a mark lists, and what may go when nobody wants it."""
    found: dict[str, Element] = {}
    for device in devices_of(root):
        if key := device_key(device):
            found[key] = device
            for path in _OPTIONAL.get(str(device.tag), ()):
                part = device.find(path)
                if part is not None:
                    found[f"{key}/{path}"] = part
    return found


def edit_definition(definition: str, desired: str, mark: DomainMark | None, new_mark: DomainMark) -> Edit:
    """Return the definition with all that `desired` states; devices that `mark` lists and nobody wants go."""
    root, wanted = parse_tree(definition), parse_tree(desired)
    differences: list[Difference] = []
    for child in wanted:
        if child.tag != "devices":
            _lay(root, child, "", differences)
    if root.get("type") != wanted.get("type"):
        _set(root, "type", wanted.get("type", ""), "", differences)
    _lay_devices(root, wanted, mark.devices if mark else (), differences)
    set_mark(root, new_mark)
    return Edit(xml=to_text(root), differences=tuple(differences))


def new_definition(desired: str, mark: DomainMark) -> str:
    """Return the rendered document with our mark, for a domain that does not exist yet."""
    root = parse_tree(desired)
    set_mark(root, mark)
    return to_text(root)


def _lay(parent: Element, wanted: Element, path: str, differences: list[Difference]) -> None:
    """Make one child of `parent` hold what `wanted` states."""
    here = f"{path}/{wanted.tag}"
    found = _counterpart(parent, wanted)
    if found is None:
        parent.append(copy.deepcopy(wanted))
        differences.append(Difference(path=here, wanted=_brief(wanted), found=""))
        return
    _lay_content(found, wanted, here, differences)


def _counterpart(parent: Element, wanted: Element) -> Element | None:
    if wanted.tag == "entry":
        return next((child for child in parent.findall("entry") if child.get("name") == wanted.get("name")), None)
    return parent.find(str(wanted.tag))


def _lay_content(found: Element, wanted: Element, path: str, differences: list[Difference]) -> None:
    source = found.find("source")
    if wanted.tag == "interface" and found.get("type") != wanted.get("type") and source is not None:
        # A bridge's source beside a network's: libvirt would refuse it.
        found.remove(source)
    for name, value in wanted.items():
        if not _same(wanted, name, value, found.get(name, "")):
            _set(found, str(name), str(value), path, differences)
    text, held = (wanted.text or "").strip(), (found.text or "").strip()
    if text and text != held:
        differences.append(Difference(path=path, wanted=text, found=held))
        found.text = text
        _follow_memory(found, text)
    if wanted.tag in _LISTS:
        _lay_hosts(found, wanted, path, differences)
    for child in wanted:
        if child.tag != "host":
            _lay(found, child, path, differences)


def _same(wanted: Element, name: object, value: object, held: str) -> bool:
    # libvirt writes the version it chose for an alias; that choice stays: `pc` is pc-i440fx-*, `q35` is pc-q35-*.
    if wanted.tag == "type" and name == "machine":
        family = {"pc": "pc-i440fx-", "q35": "pc-q35-"}.get(str(value))
        return held == value or (family is not None and held.startswith(family))
    return held == value


def _set(element: Element, name: str, value: str, path: str, differences: list[Difference]) -> None:
    differences.append(Difference(path=f"{path}/@{name}", wanted=value, found=element.get(name, "")))
    element.set(name, value)


def _follow_memory(memory: Element, text: str) -> None:
    """currentMemory is what the guest gets of the memory; the spec has one figure for both."""
    parent = memory.getparent()
    current = parent.find("currentMemory") if memory.tag == "memory" and parent is not None else None
    if current is not None:
        current.text = text


def _lay_hosts(found: Element, wanted: Element, path: str, differences: list[Difference]) -> None:
    """The monitors are one value: a moved cluster has other ones, and stale ones only delay a start."""
    want, have = _monitors(wanted), _monitors(found)
    if want == have:
        return
    differences.append(Difference(path=f"{path}/host", wanted=want, found=have))
    for host in found.findall("host"):
        found.remove(host)
    for index, host in enumerate(wanted.findall("host")):
        found.insert(index, copy.deepcopy(host))


def _monitors(source: Element) -> str:
    return " ".join(sorted(f"{host.get('name')}:{host.get('port', '')}" for host in source.findall("host")))


def _lay_devices(root: Element, wanted: Element, owned: tuple[str, ...], differences: list[Difference]) -> None:
    devices = root.find("devices")
    assert devices is not None, "libvirt gives every domain a <devices>"
    found_by_key, wanted_by_key = _keyed(root), _keyed(wanted)
    for key in sorted(set(owned) - wanted_by_key.keys()):
        if key in found_by_key and not key.startswith("controller:"):
            _remove(found_by_key[key])
            differences.append(Difference(path=f"/devices/{key}", wanted="", found="present"))
    for device in devices_of(wanted):
        key = device_key(device)
        if key in found_by_key:
            _lay_content(found_by_key[key], device, f"/devices/{key}", differences)
        else:
            devices.append(copy.deepcopy(device))
            differences.append(Difference(path=f"/devices/{key}", wanted="present", found=""))
    _lay_boot(root, wanted, differences)


def _lay_boot(root: Element, wanted: Element, differences: list[Difference]) -> None:
    """libvirt gives a domain without boot orders an <os><boot>, and refuses that beside boot orders of devices."""
    general = root.findall("os/boot")
    if general and wanted.find("devices/*/boot") is not None:
        differences.append(Difference(path="/os/boot", wanted="", found=" ".join(e.get("dev", "") for e in general)))
        for element in general:
            _remove(element)


def _remove(element: Element) -> None:
    parent = element.getparent()
    if parent is not None:
        parent.remove(element)


def _brief(element: Element) -> str:
    return (element.text or "").strip() or " ".join(f"{k!s}={v!s}" for k, v in element.attrib.items()) or "present"
