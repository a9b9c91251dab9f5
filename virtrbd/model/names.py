"""The rules for names: which libvirt or RBD cannot hold, and which no new image or domain gets."""

import re
import unicodedata

from virtrbd.printable import first_unprintable, quoted

# RADOS takes names of objects up to 2048 bytes (osd_max_object_name_len); the image's is `rbd_id.NAME`, and librbd's
# create fails with ENAMETOOLONG beyond. No limit was found for pools and snapshots; so long a name is a mistake.
LONGEST_NAME = 2048 - len("rbd_id.")
# Ceph's mon and OSDs take up to 256 bytes (osd_max_object_namespace_len).
LONGEST_NAMESPACE = 256

# Not in XML 1.0.
_NO_CHARACTERS = "\ufffe\uffff"
# libvirt keeps a definition as NAME.xml, in a file name of 255 bytes.
_LONGEST_DOMAIN_NAME = 255 - len(".xml")
_NEW_DOMAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_OPTION = re.compile(r":[A-Za-z_]+=")


def check_plain(text: str) -> str:
    """Return the text. Raises ValueError for invisible characters: a mistake, or meant to mislead."""
    if unseen := first_unprintable(text):
        raise ValueError(
            f"the text holds control or other invisible characters ({unseen}): {quoted(text)}; leave them out"
        )
    return text


def check_name(name: str, longest_bytes: int = LONGEST_NAME) -> str:
    """Return the name of something that Ceph may hold. Raises ValueError.

    RBD takes any bytes. libvirt writes a tab or a line break of a name into its XML as it is and reads it back as a
    space, which names another image (measured with 9.0).
    """
    for char in name:
        if unicodedata.category(char) in ("Cc", "Cs") or char in _NO_CHARACTERS:
            raise ValueError(
                f"{quoted(name)} holds U+{ord(char):04X}, which libvirt's XML cannot hold or reads as another "
                f"character, so the name would mean another image; rename it with rbd rename or rbd snap rename"
            )
    if len(name.encode()) > longest_bytes:
        raise ValueError(f"{quoted(name)} is longer than the {longest_bytes} bytes that Ceph takes")
    return name


def check_new_name(name: str) -> str:
    """Return the name of something new in Ceph: visible, and easy to type. Raises ValueError."""
    check_plain(name)
    if name != name.strip():
        raise ValueError(f"{quoted(name)} begins or ends with a space; leave it out")
    if _OPTION.search(name):
        raise ValueError(
            f"{quoted(name)}: QEMU's old file names have options behind `:`, but here they would be part of the name; "
            f"leave them out"
        )
    if "/" in name or "@" in name:
        raise ValueError(f"{quoted(name)}: rbd takes no `/` and no `@` in a new name; leave them out")
    return name


def check_domain_name(name: str) -> str:
    """Return a name that a domain may have in libvirt. Raises ValueError.

    Measured with 9.0: it refuses `/`, line breaks, `.` and `..`, and a name that is too long for a file.
    """
    check_plain(name)
    if not name or "/" in name or name in (".", ".."):
        raise ValueError(f"{quoted(name)} is not a domain name; libvirt refuses an empty name, `/`, `.` and `..`")
    if len(name.encode()) > _LONGEST_DOMAIN_NAME:
        raise ValueError(f"{quoted(name)} is longer than the {_LONGEST_DOMAIN_NAME} bytes that libvirt takes")
    return name


def check_new_domain_name(name: str) -> str:
    """Return the name of a new domain: it becomes a part of image names and of commands.

    Raises ValueError.
    """
    if not _NEW_DOMAIN_NAME.fullmatch(name):
        raise ValueError(
            f"{quoted(name)} is not a name for a new domain; write letters, digits, '.', '_' and '-', 63 at most"
        )
    return name
