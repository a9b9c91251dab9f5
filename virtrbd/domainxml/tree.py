"""Domain XML as a tree, with keys and steps that identify its devices."""

import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Final
from urllib.parse import quote

from lxml import etree

from virtrbd.domainxml.document import NAMESPACE
from virtrbd.domainxml.parsing import parse
from virtrbd.errors import DocumentError
from virtrbd.printable import quoted

Element = etree._Element

MARK_TAG: Final = f"{{{NAMESPACE}}}domain"

_QEMU: Final = "{http://libvirt.org/schemas/domain/qemu/1.0}"
# Elements that may occur several times in their parent, and the attributes that distinguish them.
_KEYS: Final = {
    "entry": "name",
    "feature": "name",
    "timer": "name",
    "parameter": "name",
    "vcpupin": "vcpu",
    "iothreadpin": "iothread",
    "seclabel": "model",
    "sysinfo": "type",
    "qemu:env": "name",
    "qemu:device": "alias",
    "qemu:property": "name",
    "qemu:add": "capability",
    "qemu:del": "capability",
}
# libvirt's default types of ports.
_PLAIN_PORTS: Final = frozenset({"", "serial", "isa-serial"})
# The characters of a key that a path may hold as they are: not `/`, space or `%`.
_PLAIN: Final = ":.,_+=@-"


def parse_tree(xml: str) -> Element:
    """Return the root, without comments. Raises DocumentError when it cannot be read."""
    return parse(xml).root


def to_text(tree: Element) -> str:
    """Return the tree as indented text."""
    return etree.tostring(tree, pretty_print=True, encoding="unicode")


def attribute(element: Element | None, path: str, name: str) -> str:
    """Return an attribute of the element at a path, empty when there is none."""
    found = None if element is None else element.find(path)
    return "" if found is None else found.get(name, "")


def has_attribute(element: Element, name: str) -> bool:
    """Whether the element has the attribute; lxml itself raises for a name that XML cannot have."""
    return name in set(map(str, element.attrib))


def whole_number(text: str | None, otherwise: int) -> int:
    """Return libvirt's number, `otherwise` without one. Raises DocumentError for another text."""
    if not text:
        return otherwise
    if not re.fullmatch("[0-9]{1,18}", text):
        raise DocumentError(f"its XML has {quoted(text)} where libvirt writes a whole number")
    return int(text)


def word(element: Element) -> str:
    """Return the tag with its usual prefix: `cpu`, `qemu:arg`."""
    tag = str(element.tag)
    return f"qemu:{tag.removeprefix(_QEMU)}" if tag.startswith(_QEMU) else tag


def device_key(device: Element) -> str:
    """Return the key of a device, which no edit changes: `disk:vda`, `interface:52:54:…`.

    Empty for kinds without a key; these are matched by type and order. Others may have a device of the same
    key: own_devices finds virtrbd's.
    """
    match device.tag:
        case "disk":
            return f"disk:{attribute(device, 'target', 'dev')}"
        case "interface":
            half = "hostdev:" if _is_passed_through(device) else ""
            return f"interface:{half}{attribute(device, 'mac', 'address').lower()}"
        case "channel":
            name = attribute(device, "target", "name")
            return f"channel:{name}" if name else ""
        case "filesystem":
            return f"filesystem:{attribute(device, 'target', 'dir')}"
        case "controller":
            return f"controller:{device.get('type')}:{_as_libvirt_writes(device.get('index', ''))}"
        case "serial" | "console":
            kind, port = attribute(device, "target", "type"), _as_libvirt_writes(attribute(device, "target", "port"))
            if kind in _PLAIN_PORTS:
                return f"{device.tag}:{port}"
            # libvirt renumbers consoles when one before them is added or removed.
            return f"serial:{kind}:{port}" if device.tag == "serial" else ""
        case _:
            return ""


def _as_libvirt_writes(number: str) -> str:
    """Return a device's number without leading zeroes: `03` is 3, and none is 0."""
    return number.lstrip("0") or "0"


def former_key(device: Element) -> str:
    """Return the key that the device had in older versions, which distinguished fewer kinds."""
    match device.tag:
        case "interface":
            return f"interface:{attribute(device, 'mac', 'address').lower()}"
        case "channel":
            return f"channel:{attribute(device, 'target', 'name')}"
        case "serial" | "console":
            return f"{device.tag}:{attribute(device, 'target', 'port') or '0'}"
        case _:
            return device_key(device)


def _is_passed_through(interface: Element) -> bool:
    """Whether it is a device of the host, which in a failover pair has the MAC of the other half (<teaming>)."""
    return interface.get("type") == "hostdev" or attribute(interface, "teaming", "type") == "transient"


def key_name(element: Element) -> str:
    """Return the attribute that distinguishes an element from others of its tag, empty without one."""
    return _KEYS.get(word(element), "")


def step(element: Element) -> str:
    """Return the element's step of a path: its tag, and its key where it has one."""
    parent = element.getparent()
    if parent is not None and parent.tag == "devices":
        key = device_key(element) or word(element)
    else:
        name = key_name(element)
        key = f"{word(element)}:{element.get(name, '')}" if name else word(element)
    return quoted_step(key)


@lru_cache(maxsize=4096)
def quoted_step(key: str) -> str:
    """Return a key as it is written in a path."""
    return quote(key, safe=_PLAIN)


def steps(parent: Element) -> Iterator[tuple[str, Element]]:
    """Yield the children with their steps, `rng#2` for the second without a key."""
    seen: Counter[str] = Counter()
    for child in children(parent):
        name = step(child)
        seen[name] += 1
        yield (name if seen[name] == 1 else f"{name}#{seen[name]}"), child


def key_of(name: str) -> str:
    """Return a device's step without its number among others of the key."""
    return name.partition("#")[0]


def number_of(name: str) -> int:
    """Return a device's number among others of its key: 2 for `rng#2`, 0 where it is not a number."""
    number = name.partition("#")[2]
    return int(number) if re.fullmatch("[0-9]{1,9}", number) else int(not number)


def device_steps(root: Element) -> Iterator[tuple[str, Element]]:
    """Yield a domain's devices with their steps."""
    devices = root.find("devices")
    return steps(devices) if devices is not None else iter(())


def children(parent: Element) -> Iterator[Element]:
    """Yield the elements in an element, without comments and processing instructions."""
    return (child for child in parent if isinstance(child.tag, str))


def devices_of(root: Element) -> list[Element]:
    """Return the children of <devices>, in order."""
    devices = root.find("devices")
    return [] if devices is None else list(children(devices))


def remove(element: Element) -> None:
    """Remove the element from its tree."""
    parent = element.getparent()
    if parent is not None:
        parent.remove(element)
