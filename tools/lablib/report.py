"""How the lab is: facts for people (a table) and for programs (JSON)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .ceph import Ceph
from .errors import LabError
from .host import Host
from .lab import Lab
from .process import Daemon


def gather(lab: Lab) -> dict[str, Any] | None:
    """Return all that there is to tell of the lab; None when there is no lab."""
    state = lab.folder.read_state()
    if state is None:
        return None
    with ThreadPoolExecutor() as pool:
        health = pool.submit(_health, lab.ceph)
        ready = pool.submit(lab.ceph.is_ready)
        latency = pool.submit(_latency, lab.ceph)
        hosts = tuple(pool.map(_host, lab.hosts()))
    v2, v1 = state.mon_ports
    daemons = [_daemon(daemon) for daemon in lab.daemons()]
    return {
        "folder": str(lab.folder.path),
        "store": state.store,
        "mon": {"v2": f"127.0.0.1:{v2}", "v1": f"127.0.0.1:{v1}"},
        "latency_ms": latency.result(),
        "health": health.result(),
        "daemons": daemons,
        "hosts": list(hosts),
        "healthy": ready.result()
        and all(daemon["up"] for daemon in daemons)
        and all(host["domains"] is not None for host in hosts),
    }


def _daemon(daemon: Daemon) -> dict[str, Any]:
    recorded = daemon.recorded()
    return {
        "name": daemon.name,
        "pid": recorded.pid if recorded else None,
        "up": daemon.process() is not None,
    }


def _host(host: Host) -> dict[str, Any]:
    domains = host.running_domains()
    return {"name": host.name, "uri": host.uri, "domains": None if domains is None else list(domains)}


def _health(ceph: Ceph) -> str:
    """Return Ceph's health in one line."""
    if ceph.mon.process() is None:
        return "unknown (mon is dead)"
    try:
        return ceph.admin("health", seconds=5).strip()
    except LabError:
        return "unknown (mon does not answer)"


def _latency(ceph: Ceph) -> float | None:
    """Return the OSDs' delay in milliseconds; None when they do not tell."""
    if any(daemon.process() is None for daemon in (ceph.mon, *ceph.osds[:1])):
        return None
    try:
        return ceph.latency()
    except LabError:
        return None


def table(facts: dict[str, Any]) -> str:
    """Return the facts as lines for people."""
    lines = [f"{'DAEMON':<16} {'PID':>8}  STATE"]
    lines += [
        f"{daemon['name']:<16} {daemon['pid'] or '-':>8}  {'up' if daemon['up'] else 'dead'}"
        for daemon in facts["daemons"]
    ]
    latency = facts["latency_ms"]
    slow = f", every OSD message delayed by {latency:g} ms" if latency else ""
    lines += ["", f"ceph   {facts['health']} ({facts['store']}{slow})"]
    lines.append(f"mon    v2 {facts['mon']['v2']}, v1 {facts['mon']['v1']}")
    for host in facts["hosts"]:
        names = host["domains"]
        domains = "does not answer" if names is None else ", ".join(names) or "no running domains"
        lines.append(f"{host['name']:<6} {host['uri']}: {domains}")
    return "\n".join(lines)
