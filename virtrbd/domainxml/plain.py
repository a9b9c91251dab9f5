"""What libvirt's documents say so plainly that no parser is needed: lxml costs more to import than reading all does.

Only in the one form that libvirt itself writes; what differs in a domain's documents is told by trees.
"""

import re
from typing import Final

NAMESPACE: Final = "urn:virtrbd:domain:1"

_RBD_SOURCE = re.compile(r"""<source protocol=['"]rbd['"][^>]*[^/]>(.*?)</source>""", re.DOTALL)
_SOURCE_HOST = re.compile(r"""<host name=['"]([^'"]+)""")

SECRET_SET = "virtrbd: cephx key"
SECRET_NOT_SET = "virtrbd: cephx key, value not set yet"


def host_uuid_in(capabilities: str) -> str:
    """Return the host's UUID from libvirt's capabilities; the test driver has none."""
    match = re.search(r"<host>\s*<uuid>([^<]+)</uuid>", capabilities)
    return match[1] if match else "00000000-0000-0000-0000-000000000000"


def secret_told(xml: str) -> tuple[bool, bool]:
    """Return whether virtrbd made the secret, and if so whether it got its value."""
    match = re.search(r"<description>([^<]*)</description>", xml)
    description = match[1] if match else ""
    return description.startswith("virtrbd: "), description == SECRET_SET


def monitors_of(xml: str) -> frozenset[str]:
    """Return the addresses of monitors that a domain's RBD disks name; quick, for the XML of every domain."""
    return frozenset(host for source in _RBD_SOURCE.findall(xml) for host in _SOURCE_HOST.findall(source))
