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
        parser.read_string("\n".join(line.strip() for line in Path(settings.ceph.conf).read_text().splitlines()))
    given = parser.items("global") if parser.has_section("global") else ()
    section = {key.replace(" ", "_"): value for key, value in given}
    return ClusterFacts(
        fsid=section.get("fsid", _NO_CLUSTER),
        monitors=_monitors(section.get("mon_host", "")),
        user=settings.ceph.user,
    )


def _monitors(mon_host: str) -> tuple[Monitor, ...]:
    """Return the monitors of `[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0] 10.0.0.2 [fd00::1]`, each once."""
    found: dict[str, Monitor] = {}
    for group in re.findall(r"\[v[12]:[^\s]*?\](?=[\s,]|$)|[^\s,]+", mon_host):
        address = re.search(r"(?:v2:|v1:)?(\[[0-9a-fA-F:.]+\]|[^\s,\[\]:]+)(?::(\d+))?", group.removeprefix("[v2:"))
        if address:
            port = int(address[2]) if address[2] and address[2] not in ("3300", "6789") else None
            name = address[1].strip("[]")
            found.setdefault(name, Monitor(address=name, port=port))
    return tuple(sorted(found.values(), key=lambda monitor: (monitor.address, monitor.port or 0)))
