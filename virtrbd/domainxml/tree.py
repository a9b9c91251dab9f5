"""Domain XML as a tree: parsed safely, and how its devices are told apart."""

from typing import Final

from lxml import etree

NAMESPACE: Final = "urn:virtrbd:domain:1"
MARK_TAG: Final = f"{{{NAMESPACE}}}domain"

Element = etree._Element

# libvirt's XML comes over a socket that others write to as well: no entities, no network, no huge trees.
_PARSER = etree.XMLParser(remove_blank_text=True, resolve_entities=False, no_network=True, remove_comments=True)


def parse_tree(xml: str) -> Element:
    """Return the root. Raises ValueError when it is no XML."""
    try:
        return etree.fromstring(xml.encode(), _PARSER)
    except etree.XMLSyntaxError as error:
        raise ValueError(f"no XML: {error}") from error


def to_text(tree: Element) -> str:
    """Return the tree as indented text."""
    return etree.tostring(tree, pretty_print=True, encoding="unicode")


def attribute(element: Element | None, path: str, name: str) -> str:
    """Return an attribute of the element at a path, empty when there is none."""
    found = None if element is None else element.find(path)
    return "" if found is None else found.get(name, "")


def device_key(device: Element) -> str:
    """Return what tells this device from others of its kind, over any edit: `disk:vda`, `interface:52:54:…`.

    Empty for kinds that have no key of their own; those are matched by type and order.
    """
    match device.tag:
        case "disk":
            return f"disk:{attribute(device, 'target', 'dev')}"
        case "interface":
            return f"interface:{attribute(device, 'mac', 'address').lower()}"
        case "channel":
            return f"channel:{attribute(device, 'target', 'name')}"
        case "controller":
            return f"controller:{device.get('type')}:{device.get('index', '0')}"
        case "serial" | "console":
            return f"{device.tag}:{attribute(device, 'target', 'port') or '0'}"
        case _:
            return ""


def devices_of(root: Element) -> list[Element]:
    """Return the children of <devices>, in order."""
    devices = root.find("devices")
    return [] if devices is None else [child for child in devices if isinstance(child.tag, str)]
