"""One mon, one mgr and the OSDs: make them, start them, wait for them, ask them."""

from __future__ import annotations

import json
import os
import socket
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import cephconf
from .errors import LabError
from .process import Daemon, run, wait_for

DELAY = "osd_debug_inject_dispatch_delay"
MOST_OSDS = 9
IN_THE_WAY = {"OSDMAP_FLAGS", "OSD_FULL", "POOL_FULL", "SLOW_OPS"}
"""Health checks of a cluster that does not write, or not in time, though every PG is active."""
READY_WITHIN = 60  # seconds; a start takes about 5, on a busy machine more


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceph:
    """The lab's cluster. All of it lies in one folder."""

    folder: Path
    lab: Path

    @property
    def client_conf(self) -> Path:
        """The conf of client.virtrbd."""
        return self.folder / "ceph.conf"

    @property
    def admin_conf(self) -> Path:
        """The conf of client.admin."""
        return self.folder / "admin.conf"

    @property
    def mon(self) -> Daemon:
        """The monitor."""
        return self._daemon("mon", "a")

    @property
    def mgr(self) -> Daemon:
        """The manager."""
        return self._daemon("mgr", "x")

    @property
    def osds(self) -> tuple[Daemon, ...]:
        """The OSDs, in the order of their numbers: each has a folder."""
        folders = (self.folder / "osd").glob("[0-9]*")
        return tuple(self._daemon("osd", str(number)) for number in sorted(int(path.name) for path in folders))

    def daemons(self) -> tuple[Daemon, ...]:
        """Return all daemons, in the order in which they start."""
        return (self.mon, self.mgr, *self.osds)

    def _daemon(self, kind: str, name: str) -> Daemon:
        shown = f"osd.{name}" if kind == "osd" else kind
        return Daemon(
            name=shown,
            argv=(f"/usr/bin/ceph-{kind}", "-f", "-c", str(self._daemon_conf), "-i", name),
            log=self.folder / "log" / f"{shown}.out",
            record=self.folder / "run" / f"{shown}.json",
            lab=self.lab,
        )

    @property
    def _daemon_conf(self) -> Path:
        return self.folder / "daemon.conf"

    def admin(self, *words: str, seconds: float = 30) -> str:
        """Return the output of a `ceph` command, run as client.admin."""
        return run(("/usr/bin/ceph", "-c", str(self.admin_conf), "--id", "admin", *words), seconds=seconds)

    def status(self, *, seconds: float = 10) -> dict[str, Any]:
        """Return what `ceph status` says. Raises LabError when the monitor does not answer in time."""
        answer: dict[str, Any] = json.loads(self.admin("status", "--format", "json", seconds=seconds))
        return answer

    def create(self, *, fsid: str, ports: tuple[int, int], store: str, osds: int) -> None:
        """Make a new cluster and start it; wait_until_ready says when it can be used."""
        self._write_files(fsid=fsid, ports=ports, store=store, osds=osds)
        self._make_mon(fsid=fsid, ports=ports)
        self.mon.start()
        with ThreadPoolExecutor() as pool:
            made = [pool.submit(self._make_osd, number, str(uuid.uuid4())) for number in range(osds)]
            ticking = pool.submit(self._set_ticks)
            # Or the manager makes a pool of its own, and tests find three pools where there should be two.
            self.admin("config", "set", "mgr", "mgr/devicehealth/enable_monitoring", "false", "--force")
            self.mgr.start()
            for each in (ticking, *made):
                each.result()
        for osd in self.osds:
            osd.start()
        for pool_name in cephconf.POOLS:
            self.admin("osd", "pool", "create", pool_name, str(cephconf.PGS_A_POOL))
        wait_for("the OSDs to come up", self._osds_are_up, seconds=READY_WITHIN, daemons=self.daemons())
        with ThreadPoolExecutor() as pool:
            tuple(pool.map(self._init_pool, cephconf.POOLS))

    def wait_until_ready(self) -> None:
        """Wait until every PG is active and an active manager is there."""
        wait_for("Ceph to be ready", self.is_ready, seconds=READY_WITHIN, daemons=self.daemons())

    def is_ready(self) -> bool:
        """Tell whether the cluster can be used."""
        try:
            status = self.status()
        except LabError:  # a monitor that has just started does not answer yet
            return False
        return is_ready(status) and status["osdmap"]["num_up_osds"] == len(self.osds)

    def wait_until_known(self, daemon: Daemon) -> None:
        """Wait until the monitor knows the daemon's new process, and no longer the dead one."""
        if daemon.name != "mon":
            wait_for(
                f"the monitor to know the new {daemon.name}",
                lambda: (process := daemon.process()) is not None and self._known_pid(daemon.name) == process.pid,
                seconds=READY_WITHIN,
                daemons=self.daemons(),
            )

    def end_pause(self) -> bool:
        """End a `ceph osd pause`; tell whether there was one."""
        flags = self.status()["health"]["checks"].get("OSDMAP_FLAGS")
        if flags is None or "pause" not in flags["summary"]["message"]:
            return False
        self.admin("osd", "unpause")
        return True

    def dead(self) -> tuple[Daemon, ...]:
        """Return the daemons that do not run."""
        return tuple(daemon for daemon in self.daemons() if daemon.process() is None)

    def set_latency(self, milliseconds: float) -> None:
        """Delay every message that an OSD gets by this much; 0 ends it."""
        # By the monitor's database, and not into the OSD alone: then a restarted OSD is as slow as before.
        for option, value in (("duration", milliseconds / 1000), ("probability", 1 if milliseconds else 0)):
            self.admin("config", "set", "osd", f"{DELAY}_{option}", f"{value:g}")
        wait_for("the OSD to take the new latency", lambda: self.latency() == milliseconds, seconds=10)

    def latency(self) -> float:
        """Return the delay of every message to an OSD in milliseconds, as the first one has it."""
        duration, probability = (self._osd_setting(f"{DELAY}_{name}") for name in ("duration", "probability"))
        return round(duration * 1000, 6) if probability else 0

    def _osd_setting(self, option: str) -> float:
        answer = self.admin("tell", "osd.0", "config", "get", option, "--format", "json", seconds=10)
        return float(json.loads(answer)[option])

    def _write_files(self, *, fsid: str, ports: tuple[int, int], store: str, osds: int) -> None:
        for name in ("mon", "mgr", *(f"osd/{number}" for number in range(osds)), "run", "log", "crash"):
            (self.folder / name).mkdir(parents=True)
        caps = cephconf.caps_by_user(osds)
        with ThreadPoolExecutor() as pool:
            keys = dict(zip(caps, pool.map(lambda _: _new_key(), caps), strict=True))
        _write_secret(self.folder / "first.keyring", cephconf.keyring(keys, caps))
        _write_secret(self.folder / "mgr/keyring", cephconf.keyring({"mgr.x": keys["mgr.x"]}))
        for number in range(osds):
            ring = cephconf.keyring({f"osd.{number}": keys[f"osd.{number}"]})
            _write_secret(self.folder / f"osd/{number}/keyring", ring)
        for user, conf in (("virtrbd", self.client_conf), ("admin", self.admin_conf)):
            file = self.folder / f"client.{user}.keyring"
            _write_secret(file, cephconf.keyring({f"client.{user}": keys[f"client.{user}"]}))
            conf.write_text(cephconf.client_conf(fsid=fsid, ports=ports, user=user, keyring_file=file))
        self._daemon_conf.write_text(cephconf.daemon_conf(folder=self.folder, fsid=fsid, ports=ports, store=store))

    def _make_mon(self, *, fsid: str, ports: tuple[int, int]) -> None:
        monmap, first = self.folder / "monmap", self.folder / "first.keyring"
        address = cephconf.monitor_address(ports)
        run(("/usr/bin/monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, str(monmap)))
        files = ("--monmap", str(monmap), "--keyring", str(first))
        run(("/usr/bin/ceph-mon", "-c", str(self._daemon_conf), "-i", "a", "--mkfs", *files))
        monmap.unlink()
        first.unlink()

    def _make_osd(self, number: int, osd_uuid: str) -> None:
        # It has to be known to the monitor before it comes up; its key is there since _make_mon.
        self.admin("osd", "create", osd_uuid, str(number))
        make = ("--mkfs", "--osd-uuid", osd_uuid, "--no-mon-config")
        run(("/usr/bin/ceph-osd", "-c", str(self._daemon_conf), "-i", str(number), *make))

    def _set_ticks(self) -> None:
        # Clients ping their watches at each tick, every 5 s by default. With osd_client_watch_timeout at 5
        # too, live watches ended and came back every few seconds. By the monitor's database it reaches QEMU
        # without a ceph.conf.
        self.admin("config", "set", "client", "objecter_tick_interval", "1")

    def _osds_are_up(self) -> bool:
        return bool(self.status()["osdmap"]["num_up_osds"] == len(self.osds))

    def _known_pid(self, name: str) -> int | None:
        """Return the pid that the monitor knows of the manager, or of an OSD."""
        if name == "mgr":
            return _nonce(self._dump("mgr")["active_addrs"])
        return next(_nonce(osd["public_addrs"]) for osd in self._dump("osd")["osds"] if f"osd.{osd['osd']}" == name)

    def _dump(self, kind: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.admin(kind, "dump", "--format", "json", seconds=10))
        return answer

    def _init_pool(self, name: str) -> None:
        run(("/usr/bin/rbd", "-c", str(self.admin_conf), "--id", "admin", "pool", "init", name))


def is_ready(status: dict[str, Any]) -> bool:
    """Tell from a `ceph status` whether the cluster can be used.

    Not by its word HEALTH_OK: Ceph 18 on Debian 13 warns of modules of its manager that lack their dependencies.
    """
    pgs = status["pgmap"]
    states = pgs["pgs_by_state"]
    active = sum(state["count"] for state in states if "active" in state["state_name"].split("+"))
    return bool(
        status["osdmap"]["num_up_osds"]
        and status["mgrmap"]["available"]
        and not IN_THE_WAY & status["health"]["checks"].keys()
        and active == pgs["num_pgs"] >= cephconf.PGS_A_POOL * len(cephconf.POOLS)
    )


def _nonce(addresses: dict[str, Any]) -> int | None:
    """Return the number by which Ceph tells two daemons at one address apart: the daemon's pid."""
    return next((address["nonce"] for address in addresses["addrvec"]), None)


def _new_key() -> str:
    """Return a new cephx key as this Ceph makes them: since 20.2.4 of 32 bytes, and those of 16 are refused."""
    return run(("/usr/bin/ceph-authtool", "--gen-print-key")).strip()


def free_ports() -> tuple[int, int]:
    """Return two ports of 127.0.0.1 that nothing listens on."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(2)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        first, second = (each.getsockname()[1] for each in sockets)
    return first, second


def _write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner may read, from its first moment on."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
