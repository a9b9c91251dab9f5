"""The capabilities of an emulator with a machine, parsed from libvirt's XML."""

from collections.abc import Iterator

from virtrbd.domainxml.tree import Element, parse_tree
from virtrbd.model.capabilities import Capabilities, Version

_Offer = tuple[str, frozenset[str]]


def parse_capabilities(domcapabilities_xml: str, libvirt: int, qemu: int) -> Capabilities:
    """Return the capabilities that the XML holds; versions as libvirt packs them, 9000000 for 9.0.0.

    Raises DocumentError when it cannot be read.
    """
    root = parse_tree(domcapabilities_xml)
    return Capabilities(
        libvirt=_unpacked(libvirt),
        qemu=_unpacked(qemu),
        machine=root.findtext("machine") or "",
        offers={name: values for section in _sections(root) for name, values in _offers(section, str(section.tag))},
    )


def _unpacked(version: int) -> Version:
    return version // 1_000_000, version // 1000 % 1000, version % 1000


def _sections(root: Element) -> Iterator[Element]:
    """Devices and features have short paths: `disk`, not `devices.disk`."""
    for child in root:
        if child.tag in ("devices", "features"):
            yield from child
        else:
            yield child


def _offers(element: Element, name: str) -> Iterator[_Offer]:
    """Yield every enum below the element, by its path; an element that is not supported by its own name, empty."""
    if element.get("supported") == "no":
        yield name, frozenset()
        return
    if element.tag == "cpu":
        yield from _cpu_offers(element)
        return
    for child in element:
        if child.tag == "enum":
            yield f"{name}.{child.get('name')}", _values(child)
        elif child.tag not in ("value", "model", "vendor", "feature"):
            yield from _offers(child, f"{name}.{child.tag}")


def _cpu_offers(cpu: Element) -> Iterator[_Offer]:
    """An attribute distinguishes modes, and custom lists its models, usable on this host or not."""
    modes = [mode for mode in cpu.iterfind("mode") if mode.get("supported") == "yes"]
    yield "cpu.mode", frozenset(mode.get("name", "") for mode in modes)
    for mode in modes:
        for enum in mode.iterfind("enum"):
            yield f"cpu.{mode.get('name')}.{enum.get('name')}", _values(enum)
        if mode.get("name") == "custom":
            yield "cpu.custom.model", frozenset(model.text or "" for model in mode.iterfind("model"))


def _values(enum: Element) -> frozenset[str]:
    return frozenset(value.text or "" for value in enum.iterfind("value"))
