"""The monitors that the disks of a definition name: their cluster, and their replacement by the cluster's map."""

import contextlib
import ipaddress
from collections.abc import Collection

from virtrbd.domainxml.document import Definition
from virtrbd.domainxml.tree import Element, remove, to_text
from virtrbd.model.cluster import Monitor

_USUAL_PORTS = frozenset({("port", "3300"), ("port", "6789")})


def monitor_names(definition: Definition) -> frozenset[str]:
    """Return the names and addresses of the monitors that the disks of a definition name."""
    hosts = definition.tree.iterfind("devices/disk/source[@protocol='rbd']/host")
    return frozenset(host.get("name", "") for host in hosts)


def monitor_key(host: Element) -> tuple[tuple[str, str], ...]:
    """Return the identity of a monitor in any spelling: librados tries 3300 and 6789 by itself."""
    words = {str(name): str(value) for name, value in host.items()}
    with contextlib.suppress(ValueError):
        words["name"] = str(ipaddress.ip_address(words.get("name", "")))
    return tuple(sorted(word for word in words.items() if word not in _USUAL_PORTS))


def is_of_this_cluster(disk: Element, monitors: Collection[str]) -> bool:
    """Whether a disk is on the cluster that `monitors`, its names and addresses, mean; a disk without monitors is."""
    hosts = {host.get("name", "") for host in disk.iterfind("source/host")}
    return not hosts or any(host in monitors for host in hosts)


def with_own_monitors(definition: Definition, names: Collection[str], monitors: Collection[Monitor]) -> Definition:
    """Return the definition as it is with the cluster's map in its disks of this cluster, whose monitors go by `names`.

    Monitors move, and a spec does not name them: their names are not a part of what a definition means.
    """
    root = definition.copy()
    for disk in root.iterfind("devices/disk"):
        source, hosts = disk.find("source[@protocol='rbd']"), disk.findall("source/host")
        if source is None or not hosts or not is_of_this_cluster(disk, names):
            continue
        for host in hosts:
            remove(host)
        for index, monitor in enumerate(monitors):
            port = {"port": str(monitor.port)} if monitor.port else {}
            source.insert(index, source.makeelement("host", {"name": monitor.address, **port}))
    return Definition(to_text(root))
