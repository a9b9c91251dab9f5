"""What a definition holds beyond a rendered document, and beyond what libvirt adds by itself."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from lxml import etree

from virtrbd.domainxml.canonical import make_canonical
from virtrbd.domainxml.kinds import lift_auth
from virtrbd.domainxml.libvirts_own import is_own, is_own_attribute
from virtrbd.domainxml.parts import lay_parts
from virtrbd.domainxml.stated import LISTS
from virtrbd.domainxml.tree import (
    Element,
    children,
    device_key,
    devices_of,
    key_name,
    parse_tree,
    steps,
    to_text,
    word,
)

# By libxml2 the schema takes these beside name and UUID only.
_GENERAL = frozenset({"genid", "hwuuid"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Unexpressed:
    """An element or attribute of a definition that no word of a spec stands for; `why` where that is not plain."""

    path: str
    xml: str
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """Elements as XML, to be laid over a rendered document, by the block of a template that has them.

    `weight` counts what they say.
    """

    blocks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unexpressed: tuple[Unexpressed, ...] = ()
    weight: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rest:
    """What of an element does not hold in `base`, which stands in its place."""

    path: str
    element: Element
    base: Element | None = None


def leftover(definition: str, rendered: str) -> Leftover:
    """Return what must be laid over the rendered document so that it says all that the definition says."""
    found, wanted = parse_tree(definition), parse_tree(rendered)
    make_canonical(wanted)
    for disk in found.iterfind("devices/disk"):
        lift_auth(disk)
    held = dict(steps(wanted))
    tops = [
        _Rest(path=f"/{name}", element=rest, base=held.get(name))
        for name, child in steps(found)
        if child.tag != "devices" and (rest := _rest(child, held.get(name))) is not None
    ]
    devices = list(_device_rests(found, wanted))
    blocks: dict[str, list[str]] = {}
    for each in (*devices, *tops):
        blocks.setdefault(_block(each), []).append(_text(each.element))
    return Leftover(
        blocks={name: tuple(elements) for name, elements in blocks.items()},
        unexpressed=tuple(named for each in (*tops, *devices) for named in _named(each)),
        weight=sum(1 + len(element.attrib) for each in (*tops, *devices) for element in each.element.iter()),
    )


def _block(rest: _Rest) -> str:
    if rest.path.startswith("/devices/"):
        return "devices_extra"
    if rest.element.tag in _GENERAL:
        return "general"
    return "qemu" if word(rest.element).startswith("qemu:") else "extra"


def with_leftover(rendered: str, rest: Leftover) -> str:
    """Return the document with the elements laid over it, as a template does that carries them."""
    root = parse_tree(rendered)
    devices = root.find("devices")
    assert devices is not None, "every rendered document has devices"
    for name, elements in rest.blocks.items():
        (devices if name == "devices_extra" else root).extend(map(parse_tree, elements))
    lay_parts(root)
    return to_text(root)


def _device_rests(found: Element, wanted: Element) -> Iterator[_Rest]:
    """Devices without a key are expressed as a whole or not at all: there is no telling to which a part belongs."""
    keyed = {name: device for name, device in _device_steps(wanted) if device_key(device)}
    left = [device for device in devices_of(wanted) if not device_key(device)]
    for name, device in _device_steps(found):
        if device_key(device):
            rest = _rest(device, keyed.get(name))
            if rest is not None:
                _identify(rest, device)
                yield _Rest(path=f"/devices/{name}", element=rest, base=keyed.get(name))
            continue
        same = next((each for each in left if each.tag == device.tag and _is_all(device, each)), None)
        if same is not None:
            left.remove(same)
        elif (rest := _rest(device, None)) is not None:
            yield _Rest(path=f"/devices/{name}", element=rest)


def _device_steps(root: Element) -> Iterator[tuple[str, Element]]:
    devices = root.find("devices")
    return steps(devices) if devices is not None else iter(())


def _is_all(found: Element, wanted: Element) -> bool:
    """Whether each says what the other does."""
    return _rest(found, wanted) is None and _rest(wanted, found) is None


def _rest(found: Element, wanted: Element | None) -> Element | None:
    """Return what of `found` does not hold in `wanted`, None where that is nothing."""
    if wanted is None and is_own(found):
        return None
    rest = found.makeelement(found.tag, nsmap={name: uri for name, uri in found.nsmap.items() if name})
    for name, value in found.attrib.items():
        is_said = wanted is not None and wanted.get(name) == value
        if not is_said and not is_own_attribute(found, str(name)):
            rest.set(name, value)
    text = (found.text or "").strip()
    if text and (wanted is None or text != (wanted.text or "").strip()):
        rest.text = found.text
    rest.extend(_child_rests(found, wanted))
    # A bare element says something by being there: <acpi/>.
    says_itself = wanted is None and not found.attrib and next(children(found), None) is None
    if not (rest.attrib or rest.text or len(rest) or says_itself):
        return None
    if key := key_name(found):
        rest.set(key, found.get(key, ""))
    return rest


def _child_rests(found: Element, wanted: Element | None) -> Iterator[Element]:
    held = dict(steps(wanted)) if wanted is not None else {}
    listed = LISTS.get(str(found.tag))
    if listed and (wanted is None or _items(found, listed) != _items(wanted, listed)):
        yield from map(copy.deepcopy, found.findall(listed))
    for name, child in steps(found):
        if child.tag == listed:
            continue
        rest = _rest(child, held.get(name))
        if rest is not None:
            # Half of a user and a secret is none.
            yield copy.deepcopy(child) if child.tag == "auth" else rest


def _items(element: Element, tag: str) -> list[list[str]]:
    return sorted(sorted(map(str, item.attrib.values())) for item in element.findall(tag))


def _identify(rest: Element, device: Element) -> None:
    """Give a part of a device what the device is known by."""
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
    """Name what of the rest the document has no place for at all, and the values that it has otherwise."""
    element, base, path = rest.element, rest.base, rest.path
    if base is None:
        yield Unexpressed(path=path, xml=_short(element))
        return
    known = key_name(element)
    for name, value in element.attrib.items():
        if name != known and base.get(name) != value:
            yield Unexpressed(path=f"{path}/@{name!s}", xml=f'{name!s}="{value!s}"')
    text = (element.text or "").strip()
    if text and text != (base.text or "").strip():
        yield Unexpressed(path=path, xml=text)
    listed, held = LISTS.get(str(element.tag)), dict(steps(base))
    if items := element.findall(listed) if listed else []:
        yield Unexpressed(path=f"{path}/{listed}", xml="".join(map(_short, items)))
    for name, child in steps(element):
        if child.tag == "auth":
            yield Unexpressed(path=f"{path}/{name}", xml=_short(child))
        elif child.tag != listed:
            yield from _named(_Rest(path=f"{path}/{name}", element=child, base=held.get(name)))


def _text(rest: Element) -> str:
    etree.cleanup_namespaces(rest)
    return to_text(rest)


def _short(element: Element) -> str:
    bare = copy.deepcopy(element)
    return " ".join(line.strip() for line in _text(bare).splitlines())
