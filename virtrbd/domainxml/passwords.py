"""Passwords of screens: libvirt shows them only on request, and forgets one that a new definition leaves out."""

from virtrbd.domainxml.parsing import parse
from virtrbd.domainxml.tree import Element, parse_tree, to_text

PASSWORD = "passwd"
_HIDDEN = (PASSWORD, "passwdValidTo")
_SHOWN = "(hidden)"


def shown(name: str, value: str) -> str:
    """Return the value of an attribute for plans, logs and marks; for a password, only that there is one."""
    return _SHOWN if name == PASSWORD and value else value


def with_passwords(xml: str, held: str) -> str:
    """Return the XML with the passwords that `held` (with VIR_DOMAIN_XML_SECURE) has for the same screens."""
    root, old = parse(xml, with_comments=True).root, parse_tree(held)
    if old.find("devices/graphics[@passwd]") is None:
        return xml
    for kind in {str(screen.get("type")) for screen in old.iterfind("devices/graphics[@passwd]")}:
        for screen, known in zip(_screens(root, kind), _screens(old, kind), strict=False):
            for name in _HIDDEN:
                if name in known.attrib and name not in screen.attrib:
                    screen.set(name, known.get(name, ""))
    return to_text(root)


def _screens(root: Element, kind: str) -> list[Element]:
    return [screen for screen in root.iterfind("devices/graphics") if screen.get("type") == kind]
