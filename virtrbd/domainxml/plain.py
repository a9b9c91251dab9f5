"""Facts from libvirt's documents without a parser: importing lxml costs more than reading all documents.

Only in the form that libvirt itself writes; differences between documents are found by trees.
"""

import re
from collections.abc import Collection
from html import unescape
from typing import Final

from virtrbd.model.image import ImageRef

NAMESPACE: Final = "urn:virtrbd:domain:1"

# One token after the other, each ending before the next tag: time grows with the text's length, for any text.
_SOURCE_TOKEN = re.compile(
    r"""(?P<begin><source protocol=['"]rbd['"][^<>]*[^/<>]>)|(?P<end></source>)|<host name=['"](?P<host>[^'"<>]+)"""
)

_RBD_SOURCE = re.compile(r"""<source protocol=['"]rbd['"] name=(['"])(.*?)\1""")
_RBD_PROTOCOL = re.compile(r"""protocol=['"]rbd['"]""")
# Each begins with plain letters, for which a text is looked through a hundred times as fast as for a choice of them.
_DEVICE = re.compile(r"/dev/(?!urandom|random|hwrng|pts/|net/tun|vhost-|kvm)")
_ARGUMENT = re.compile(r"<qemu:[a-z]+ [^<>]*(?i:rbd|/dev/|readconfig|\\)")

# What XML 1.0 forbids, though libvirt keeps it.
FORBIDDEN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
# libvirt itself drops U+0000 to U+0019 when it writes; the others are very rare.
_CONTROLS: Final = (*map(chr, range(0x1A, 0x20)), "\ufffe", "\uffff")
# All except the five entities of XML itself and references to characters.
FOREIGN_REFERENCE: Final = re.compile(r"&(?!(?:amp|lt|gt|quot|apos|#[0-9]+|#x[0-9A-Fa-f]+);)[^;<>'\"\s]{0,40};?")

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


def monitor_addresses(xml: str) -> frozenset[str]:
    """Return the addresses of monitors that a domain's RBD disks name; quick, for the XML of every domain."""
    found, is_inside = set(), False
    for token in _SOURCE_TOKEN.finditer(xml):
        if token["host"] is None:
            is_inside = token["begin"] is not None
        elif is_inside:
            found.add(token["host"])
    return frozenset(found)


def are_all_gone(named: Collection[str], monitors: Collection[str]) -> bool:
    """Whether all monitors that a document names are others than the cluster's addresses; a name may lead to any."""
    if not named or not set(named).isdisjoint(monitors):
        return False
    # Here, not above: usually they are the cluster's, word for word.
    import ipaddress

    try:
        return {ipaddress.ip_address(name) for name in named}.isdisjoint(map(ipaddress.ip_address, monitors))
    except ValueError:
        return False


def may_be_no_xml(xml: str) -> bool:
    """Whether the text may hold what XML forbids; quick, for the XML of every domain. Only a parser knows for sure."""
    # Usually there is none, and a search for single characters is far quicker than for a class.
    return any(character in xml for character in _CONTROLS) or FOREIGN_REFERENCE.search(xml) is not None


def sources_in(xml: str) -> frozenset[str]:
    """Return the RBD sources, `pool/[namespace/]image`, that the text names; with options behind a colon without them
    too."""
    names = {unescape(match[2]) for match in _RBD_SOURCE.finditer(xml)}
    return frozenset(names | {name.partition(":")[0] for name in names})


def names_source(xml: str, ref: ImageRef) -> bool:
    """Whether an RBD source in the text is the image, or a snapshot of it."""
    return f"{ref.pool}/{ref.path}" in sources_in(xml)


def may_name_more(xml: str) -> bool:
    """Whether the text may name an image in any way that `sources_in` does not see; only a parser knows for sure."""
    is_all = len(_RBD_PROTOCOL.findall(xml)) == len(_RBD_SOURCE.findall(xml))
    is_volume = " volume=" in xml
    # The kernel's rbd driver, or a device built on it; QEMU's own arguments, or a file with more of them.
    return not is_all or is_volume or _DEVICE.search(xml) is not None or _ARGUMENT.search(xml) is not None
