"""What ceph.conf tells without a cluster at hand."""

import configparser
import contextlib
import re
from pathlib import Path

from virtrbd.model.actual import ClusterFacts, Monitor
from virtrbd.model.settings import Settings

_NO_CLUSTER = "00000000-0000-0000-0000-000000000000"


def read_cluster_facts(settings: Settings) -> ClusterFacts:
    """Return fsid and monitors as ceph.conf has them; nil and none where there is no such file."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    with contextlib.suppress(OSError, configparser.Error):
        # A comment may be in any encoding: Ceph reads bytes.
        lines = Path(settings.ceph.conf).read_text(errors="replace").splitlines()
        parser.read_string("\n".join(line.strip() for line in lines))
    given = parser.items("global") if parser.has_section("global") else ()
    section = {key.replace(" ", "_"): value for key, value in given}
    return ClusterFacts(
        fsid=section.get("fsid", _NO_CLUSTER),
        monitors=_monitors(section.get("mon_host", "")),
        user=settings.ceph.user,
    )


# `v2:10.0.0.1:3300/0`, `[fd00::1]:3301`, `mon-b`: the brackets around a group of these mean nothing here.
_ADDRESS = re.compile(r"(?:v[12]:)?(?P<name>\[[0-9a-fA-F:.]+\]|[^\s,:/\[\]]+)(?::(?P<port>[0-9]+))?(?:/[0-9]+)?")
# Without a port librados tries both of these (src/mon/MonMap.cc); with one of them it speaks one protocol only.
_USUAL_PORTS = ("3300", "6789")
# `\d` takes the digits of every script, and as many as there are; Python's int() refuses thousands of them.
_PORT = re.compile("[0-9]{1,5}")


def _monitors(mon_host: str) -> tuple[Monitor, ...]:
    """Return the monitors of `[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0] 10.0.0.2 [fd00::1]`, each once."""
    found: dict[str, Monitor] = {}
    for match in _ADDRESS.finditer(mon_host):
        name, port = match["name"].strip("[]"), match["port"]
        # Of a monitor with two addresses the first counts: Ceph writes v2 first.
        found.setdefault(name, Monitor(address=name, port=_port(port)))
    return tuple(sorted(found.values(), key=lambda monitor: (monitor.address, monitor.port or 0)))


def _port(text: str | None) -> int | None:
    if text is None or text in _USUAL_PORTS or not _PORT.fullmatch(text):
        return None
    return int(text)
