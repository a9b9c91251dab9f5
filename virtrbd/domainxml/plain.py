"""What libvirt's documents say so plainly that no parser is needed: lxml costs more to import than reading all does.

Only of documents that libvirt writes itself, in its one form; a domain's are held against each other as trees.
"""

import re

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
