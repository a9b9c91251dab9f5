"""The monitors of a cluster: of its own map, and of ceph.conf's mon_host."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from virtrbd.errors import ConfigError
from virtrbd.lazily import lazily
from virtrbd.model.address import address_of

# It brings all nouns of domains along, and work on images needs none.
with lazily():
    from virtrbd.model.cluster import Monitor

# `v2:10.0.0.1:3300/0`, `[fd00::1]:3301`, `fd00::1`, `mon-b`.
_ADDRESS = re.compile(
    r"(?:(?:v1|v2|any):)?"
    r"(?P<name>\[[0-9a-fA-F:.]+\]|[0-9a-fA-F]*:[0-9a-fA-F]*:[0-9a-fA-F:.]*|[A-Za-z0-9_.-]+)"
    r"(?::(?P<port>[0-9]{1,5}))?(?:/[0-9]+)?"
)
# The brackets around the addresses of one monitor have no meaning here.
_BETWEEN = re.compile(r"[\s,;]+")
_MOST_PORT = 65535
# Without a port librados tries both of these (src/mon/MonMap.cc); with one of them it speaks one protocol only.
_USUAL_PORTS = ("3300", "6789")


def monitors_of_map(mons: Sequence[dict[str, Any]]) -> "tuple[Monitor, ...]":
    """Return each monitor of a `mon dump` once. A port other than the usual two is tried with both protocols."""
    found: list[tuple[str, int | None]] = []
    for mon in mons:
        addresses = {item["type"]: item["addr"] for item in mon["public_addrs"]["addrvec"]}
        address, _, port = (addresses.get("v2") or addresses.get("v1") or next(iter(addresses.values()))).rpartition(
            ":"
        )
        # Without a port both 3300 (v2) and 6789 (v1) are tried. IPv6 goes without brackets: libvirt refuses them.
        is_usual = port == "3300" or (port == "6789" and "v2" not in addresses)
        found.append((address.strip("[]"), None if is_usual else int(port)))
    return _monitors(found)


def addresses_of_map(mons: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """Return all addresses of the monitors of a `mon dump`, each once: of both protocols, and of IPv4 and IPv6."""
    found = (item["addr"].rpartition(":")[0].strip("[]") for mon in mons for item in mon["public_addrs"]["addrvec"])
    return tuple(sorted(set(found)))


def monitors_of_conf(mon_host: str) -> "tuple[Monitor, ...]":
    """Return the monitors of `[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0] 10.0.0.2 [fd00::1]`, each once.

    Raises ConfigError for a word that is not an address.
    """
    return _monitors(_addresses(mon_host))


def host_names(mon_host: str) -> tuple[str, ...]:
    """Return the names in a mon_host, which are to be looked up. Raises ConfigError for what is not an address."""
    return tuple(dict.fromkeys(name for name, _ in _addresses(mon_host) if address_of(name) is None))


def _addresses(mon_host: str) -> list[tuple[str, int | None]]:
    """Return each address or name with its port."""
    found: list[tuple[str, int | None]] = []
    # Several monitors may share an address; in the brackets of one monitor each address has a port for each protocol.
    of_monitor: set[str] = set()
    depth = 0
    for word in filter(None, _BETWEEN.split(mon_host)):
        match = _ADDRESS.fullmatch(word) or _ADDRESS.fullmatch(_without_group(word))
        if match is None or int(match["port"] or 0) > _MOST_PORT:
            raise ConfigError(f"mon_host: {word!r} is not the address of a monitor; write a name or an address")
        name, port = match["name"].strip("[]"), match["port"]
        # The first port of an address counts: Ceph writes v2 first.
        if name not in of_monitor:
            found.append((name, None if not port or port in _USUAL_PORTS else int(port)))
        of_monitor.add(name)
        depth += word.count("[") - word.count("]")
        if depth <= 0:
            of_monitor.clear()
    return found


def _without_group(word: str) -> str:
    """Return a word without the bracket of a group that begins or ends with it."""
    if word.count("[") > word.count("]"):
        return word.removeprefix("[")
    if word.count("[") < word.count("]"):
        return word.removesuffix("]")
    return word[1:-1] if word.startswith("[") and word.endswith("]") else word


def _monitors(addresses: Iterable[tuple[str, int | None]]) -> "tuple[Monitor, ...]":
    found = {Monitor(address=address, port=port) for address, port in addresses}
    return tuple(sorted(found, key=lambda monitor: (monitor.address, monitor.port or 0)))
