"""Targets that take Ceph's own files: ceph.conf and keyrings."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from fuzzlib.target import Target, require
from virtrbd.ceph.keyring import key_in
from virtrbd.ceph.offline import read_cluster_facts
from virtrbd.errors import VirtrbdError
from virtrbd.model.record import replace
from virtrbd.model.settings import Settings


@cache
def _holder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="virtrbd-fuzz-")


def _written(name: str, data: bytes) -> str:
    file = Path(_holder().name) / name
    file.write_bytes(data)
    return str(file)


def try_ceph_conf(data: bytes) -> None:
    """A ceph.conf."""
    settings = Settings(host="kvm-1")
    conf = _written("ceph.conf", data)
    facts = read_cluster_facts(replace(settings, ceph=replace(settings.ceph, conf=conf)))
    require(all(monitor.address for monitor in facts.monitors), "a monitor without an address")


def try_keyring(data: bytes) -> None:
    """A keyring; what is wrong with it is told without a word of it."""
    try:
        key_in(_written("keyring", data), "virtrbd")
    except VirtrbdError as error:
        shown = str(error)
        for word in data.decode("utf-8", "replace").split():
            require(
                len(word) < 12 or word in _KNOWN or word not in shown, f"the keyring's own words are shown: {shown}"
            )
        raise


# What a message says by itself.
_KNOWN = frozenset({"client.virtrbd", "[client.virtrbd]"})

TARGETS = (
    Target(
        name="ceph-conf",
        about="a ceph.conf",
        run=try_ceph_conf,
        words=("[global]\n", "fsid = ", "mon host = ", "mon_host = ", "v2:", "[v2:10.0.0.1:3300/0,v1:", "%("),
    ),
    Target(name="keyring", about="a keyring", run=try_keyring, words=("[client.virtrbd]\n", "\tkey = ", "==", "%(")),
)
