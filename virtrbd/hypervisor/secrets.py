"""libvirt's secrets of Ceph: read, made, and described so that a later run knows whether they have their value."""

import re
from typing import Any

from msgspec import Struct

from virtrbd.ceph.keyring import Key
from virtrbd.hypervisor.bindings import libvirt
from virtrbd.hypervisor.connection import Hypervisor
from virtrbd.lazily import lazily
from virtrbd.model.cluster import Secret

with lazily():
    from virtrbd.domainxml.parse import secret_xml

SECRET_SET = "virtrbd: cephx key"
SECRET_NOT_SET = "virtrbd: cephx key, value not set yet"


class SecretMark(Struct, frozen=True, kw_only=True):
    """Whether virtrbd made a secret, and if so whether it got its value."""

    is_ours: bool
    is_set: bool


def list_secrets(hypervisor: Hypervisor, key: Key) -> tuple[Secret, ...]:
    """Return libvirt's ceph secrets by UUID, and which of them hold this key (a private one does not show it)."""

    def read(connection: Any) -> tuple[Secret, ...]:
        ceph = [s for s in connection.listAllSecrets() if s.usageType() == libvirt.VIR_SECRET_USAGE_TYPE_CEPH]
        found = (secret for each in ceph if (secret := _read_secret(each, key)))
        return tuple(sorted(found, key=lambda secret: secret.uuid))

    return hypervisor.call("listing secrets", read)


def define_secret(hypervisor: Hypervisor, uuid: str, usage: str, key: Key) -> None:
    """Define the secret, set its value, then record that it has one: a private value can't be read."""

    def define(connection: Any) -> None:
        # An existing secret may be another run's, which is about to find it set.
        there = [secret for secret in connection.listAllSecrets() if secret.UUIDString() == uuid]
        made = there or [connection.secretDefineXML(secret_xml(uuid, usage, SECRET_NOT_SET))]
        made[0].setValue(key.raw)
        connection.secretDefineXML(secret_xml(uuid, usage, SECRET_SET))

    hypervisor.call(f"defining secret {uuid}", define, changes=True)


def secret_mark_of(xml: str) -> SecretMark:
    """Return what the description of a secret says of it."""
    match = re.search(r"<description>([^<]*)</description>", xml)
    description = match[1] if match else ""
    return SecretMark(is_ours=description.startswith("virtrbd: "), is_set=description == SECRET_SET)


def _read_secret(secret: Any, key: Key) -> Secret | None:
    """Return a secret of libvirt's, and whether it holds the key: a private secret of others does not show that.

    None when it was undefined since the listing.
    """
    try:
        mark = secret_mark_of(secret.XMLDesc())
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_SECRET:
            return None
        raise
    is_set = mark.is_set
    try:
        holds_key = secret.value() == key.raw
        is_set = True
    except libvirt.libvirtError as error:
        holds_key = False
        if error.get_error_code() == libvirt.VIR_ERR_NO_SECRET:
            is_set = False
        elif not mark.is_ours:
            is_set = True
    return Secret(uuid=secret.UUIDString(), usage=secret.usageID(), is_set=is_set, holds_key=holds_key)
