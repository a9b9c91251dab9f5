"""libvirt's secrets of Ceph: read, and described so that a later run knows whether they have their value."""

import re
from typing import Any

from virtrbd.ceph.keyring import Key
from virtrbd.hypervisor.bindings import libvirt
from virtrbd.model.cluster import Secret

SECRET_SET = "virtrbd: cephx key"
SECRET_NOT_SET = "virtrbd: cephx key, value not set yet"


def secret_told(xml: str) -> tuple[bool, bool]:
    """Return whether virtrbd made the secret, and if so whether it got its value."""
    match = re.search(r"<description>([^<]*)</description>", xml)
    description = match[1] if match else ""
    return description.startswith("virtrbd: "), description == SECRET_SET


def read_secret(secret: Any, key: Key) -> Secret | None:
    """Return a secret of libvirt's, and whether it holds the key: a private secret of others does not show that.

    None when it was undefined since the listing.
    """
    try:
        is_ours, is_set = secret_told(secret.XMLDesc())
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_SECRET:
            return None
        raise
    try:
        holds_key = secret.value() == key.raw
        is_set = True
    except libvirt.libvirtError as error:
        holds_key = False
        if error.get_error_code() == libvirt.VIR_ERR_NO_SECRET:
            is_set = False
        elif not is_ours:
            is_set = True
    return Secret(uuid=secret.UUIDString(), usage=secret.usageID(), is_set=is_set, holds_key=holds_key)
