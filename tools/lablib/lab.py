"""The whole lab: bring it up, heal it, take it down, tell how it is."""

from __future__ import annotations

import shutil
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from .ceph import Ceph, free_ports
from .errors import LabError
from .folder import Folder, State
from .host import Host
from .process import Daemon, boot_id, end, marked, neighbours
from .signals import EndedError

CEPH_PROGRAMS = ("ceph", "ceph-mon", "ceph-mgr", "ceph-osd", "monmaptool", "rbd")
HOST_PROGRAMS = ("libvirtd", "virtlogd", "virsh", "qemu-system-x86_64", "unshare", "mount")


def say(message: str) -> None:
    """Tell the user what happens."""
    print(f"lab: {message}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Lab:
    """A lab in a folder, whether it is up or not."""

    folder: Folder

    @property
    def ceph(self) -> Ceph:
        """The lab's cluster."""
        return Ceph(folder=self.folder.ceph, lab=self.folder.path)

    def host(self, name: str) -> Host:
        """Return the host with this name, whether it exists or not."""
        return Host(name=name, folder=self.folder.hosts / name, lab=self.folder.path)

    def hosts(self) -> tuple[Host, ...]:
        """Return the lab's hosts, by name."""
        if not self.folder.hosts.exists():
            return ()
        known = (self.host(path.name) for path in sorted(self.folder.hosts.iterdir()))
        # Host.create writes it last: a host without it was never started.
        return tuple(host for host in known if host.virtrbd_config.exists())

    def daemons(self) -> tuple[Daemon, ...]:
        """Return all daemons of the lab."""
        return (*self.ceph.daemons(), *(daemon for host in self.hosts() for daemon in host.daemons()))

    def up(self, *, hosts: int | None, store: str | None, osds: int | None) -> None:
        """Bring the lab up, or what of it is not up. The caller holds the lock."""
        check_programs()
        state = self.folder.read_state()
        reason = self._unusable(state)
        hosts = hosts or len(self.hosts()) or 1
        if state is None or reason:
            store = store or (state.store if state else "memstore")
            started = time.monotonic()
            try:
                if reason:
                    say(f"{reason}; replacing the whole lab")
                    self._clear()
                self._create(hosts=hosts, store=store, osds=osds or 1)
            except EndedError:
                # One that failed stays, with its logs; one that was ended has nothing to tell.
                say("ended half-way; taking down what there is of the lab")
                self.down()
                raise
            say(f"up in {time.monotonic() - started:.1f} s: Ceph on {store}, {self._host_names()}")
            return
        if store not in (None, state.store):
            raise LabError(f"--store {store}", f"this lab is on {state.store}", "run tools/lab down first")
        if osds not in (None, len(self.ceph.osds)):
            raise LabError(f"--osds {osds}", f"this lab has {len(self.ceph.osds)}", "run tools/lab down first")
        self._heal(hosts=hosts)

    def _unusable(self, state: State | None) -> str | None:
        """Return why the lab that is there can't be healed; None when it can, or when there is none."""
        if state is None:
            files = any(path != self.folder.lock for path in self.folder.path.iterdir())
            return "an unfinished lab is here" if files or any(marked(self.folder.path)) else None
        if state.boot != boot_id():
            return "this lab is from before the machine's last boot"
        if state.store == "memstore" and any(osd.process() is None for osd in self.ceph.osds):
            return "an OSD died, and its data (memstore) with it"
        return None

    def _create(self, *, hosts: int, store: str, osds: int) -> None:
        state = State(boot=boot_id(), fsid=str(uuid.uuid4()), store=store, mon_ports=free_ports())
        ceph = self.ceph
        # libvirtd's first start takes as long as Ceph's, so they start side by side.
        with ThreadPoolExecutor() as pool:
            new_hosts = pool.submit(self._add_hosts, hosts)
            try:
                ceph.create(fsid=state.fsid, ports=state.mon_ports, store=store, osds=osds)
                ceph.wait_until_ready()
                new_hosts.result()
            except EndedError:
                # The other thread waits for its daemons up to a minute: it ends with them.
                self._end_processes()
                raise
        self.folder.write_state(state)

    def _add_hosts(self, count: int) -> tuple[Host, ...]:
        """Make the lab have at least this many hosts; return the new ones, which answer then."""
        wanted = tuple(self.host(f"kvm-{number}") for number in range(1, count + 1))
        new = tuple(host for host in wanted if not host.virtrbd_config.exists())
        for host in new:
            host.create(ceph_conf=self.ceph.client_conf)
            host.start()
        for host in new:
            host.wait_until_ready()
        return new

    def _heal(self, *, hosts: int) -> None:
        """Start what died, in the order in which one needs the other, and add the hosts that are wanted."""
        dead = self.ceph.dead()
        for daemon in dead:
            daemon.start()
        restarted = [*dead]
        for host in self.hosts():
            restarted += host.start()
        for daemon in restarted:
            say(f"{daemon.name} was dead; started again")
        with ThreadPoolExecutor() as pool:
            waits = [pool.submit(host.wait_until_ready) for host in self.hosts()]
            self.ceph.wait_until_ready()
            for daemon in dead:
                self.ceph.wait_until_known(daemon)
            for wait in waits:
                wait.result()
        if self.ceph.end_pause():
            say("Ceph was paused; ended that")
        for new in self._add_hosts(hosts):
            say(f"{new.name} added")
        say(f"up: {self._host_names()}")

    def _host_names(self) -> str:
        return ", ".join(host.name for host in self.hosts())

    def down(self) -> None:
        """End all processes of the lab and remove its folder. The caller holds the lock."""
        self._end_processes()
        self.folder.remove()

    def _clear(self) -> None:
        self._end_processes()
        self.folder.clear()

    def _end_processes(self) -> None:
        # Guests first: QEMU writes back when it ends, so it wants Ceph. An OSD says good-bye to the monitor.
        # A QEMU whose Ceph is dead hangs, and its data ends here anyway: it is not worth a long wait.
        end([process for host in self.hosts() for process in host.processes()], seconds=2)
        for daemon in reversed(self.ceph.daemons()):
            end(process for process in [daemon.process()] if process)
        # What no record tells of, e.g. after somebody removed the folder or an `up` was killed.
        rest = tuple(marked(self.folder.path))
        end({*rest, *neighbours(rest)})


def check_programs() -> None:
    """Raise LabError when a program is missing that the lab is made of."""
    path = "/usr/sbin:/usr/bin:/sbin:/bin"
    programs = (*CEPH_PROGRAMS, *HOST_PROGRAMS)
    missing = [program for program in programs if shutil.which(program, path=path) is None]
    if missing:
        raise LabError("starting the lab", f"not installed: {', '.join(missing)}", "run tools/setup")
