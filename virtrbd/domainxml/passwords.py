"""Passwords of screens: libvirt shows them only on request, and forgets one that a new definition leaves out."""

from virtrbd.domainxml.document import Definition, Edited
from virtrbd.domainxml.tree import Element, to_text

PASSWORD = "passwd"
_HIDDEN = (PASSWORD, "passwdValidTo")
_SHOWN = "(hidden)"


def shown(name: str, value: str) -> str:
    """Return the value of an attribute for plans, logs and marks; for a password, only that there is one."""
    return _SHOWN if name == PASSWORD and value else value


def with_passwords(edited: Edited, held: Definition) -> Edited:
    """Return what is to be defined, with the passwords that `held` (VIR_DOMAIN_XML_SECURE) has for the same screens."""
    root, old = edited.with_comments().root, held.tree
    if old.find("devices/graphics[@passwd]") is None:
        return edited
    for kind in {str(screen.get("type")) for screen in old.iterfind("devices/graphics[@passwd]")}:
        for screen, known in zip(_screens(root, kind), _screens(old, kind), strict=False):
            for name in _HIDDEN:
                if name in known.attrib and name not in screen.attrib:
                    screen.set(name, known.get(name, ""))
    return Edited(to_text(root))


def _screens(root: Element, kind: str) -> list[Element]:
    return [screen for screen in root.iterfind("devices/graphics") if screen.get("type") == kind]
