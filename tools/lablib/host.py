"""One pretended machine: a libvirtd and its virtlogd in mount and UTS namespaces of their own."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from .errors import LabError
from .process import Daemon, Process, all_processes, run, wait_for

MOST_HOSTS = 9
READY_WITHIN = 60  # seconds; the first start asks every QEMU binary what it can, about 1 s

# What a host sees instead of the machine's own: folder within the host's folder, and path that it covers.
# All of /run, because libvirt keeps pid files and sockets there, /run/libvirt need not exist on the machine,
# and a host must not find the machine's D-Bus (machined, firewalld, polkit).
PRIVATE = (
    ("run", "/run"),
    ("etc", "/etc/libvirt"),
    ("ceph", "/etc/ceph"),  # stays empty: a guest finds Ceph by what its definition says, and by nothing else
    ("lib", "/var/lib/libvirt"),
    ("log", "/var/log/libvirt"),
    ("cache", "/var/cache/libvirt"),
    ("swtpm-ca", "/var/lib/swtpm-localca"),
    ("swtpm-log", "/var/log/swtpm"),
)

# $0 is the host's name, $1 its folder; then pairs of PRIVATE, "--" and the daemon. There is no namespace to
# set up once and to clean up later: each start has its own, with the same folders in it.
# --no-mtab, or mount makes /run/mount on the machine before /run is covered.
ENTER = """
name=$0 folder=$1; shift
echo "$name" >/proc/sys/kernel/hostname
mount --no-mtab --bind "$folder/hosts.txt" /etc/hosts
while [ "$1" != -- ]; do mkdir -p "$2"; mount --no-mtab --bind "$folder/$1" "$2"; shift 2; done
shift
exec "$@"
"""

LIBVIRTD_CONF = """\
host_uuid = "{uuid}"
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_group = "root"
unix_sock_rw_perms = "0700"
log_outputs = "2:file:/var/log/libvirt/libvirtd.log"
"""

VIRTLOGD_CONF = """\
log_outputs = "2:file:/var/log/libvirt/virtlogd.log"
"""

QEMU_CONF = """\
user = "root"
group = "root"
swtpm_user = "root"
swtpm_group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = [ ]
# a /dev of its own for each QEMU would be one more mount namespace, for nothing
namespaces = [ ]
stdio_handler = "logd"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A host of the lab. All of it lies in one folder."""

    name: str
    folder: Path
    lab: Path

    @property
    def socket(self) -> Path:
        """libvirtd's socket, as it is seen from outside the host's namespaces."""
        return self.folder / "run/libvirt/libvirt-sock"

    @property
    def uri(self) -> str:
        """What libvirt's clients take to connect to this host."""
        return f"qemu:///system?socket={quote(str(self.socket))}"

    @property
    def virtrbd_config(self) -> Path:
        """virtrbd's configuration for this host."""
        return self.folder / "virtrbd.yaml"

    @property
    def virtlogd(self) -> Daemon:
        """The daemon that writes what QEMU and its consoles print."""
        return self._daemon("virtlogd")

    @property
    def libvirtd(self) -> Daemon:
        """The daemon that runs the domains."""
        return self._daemon("libvirtd")

    def daemons(self) -> tuple[Daemon, ...]:
        """Return all daemons, in the order in which they start."""
        return (self.virtlogd, self.libvirtd)

    def _daemon(self, program: str) -> Daemon:
        private = (word for pair in PRIVATE for word in pair)
        namespaces = ("/usr/bin/unshare", "--mount", "--uts", "--propagation", "private")
        enter = ("/bin/sh", "-ec", ENTER, self.name, str(self.folder), *private, "--")
        return Daemon(
            name=f"{self.name} {program}",
            argv=(*namespaces, *enter, f"/usr/sbin/{program}"),
            log=self.folder / f"{program}.out",
            record=self.folder / f"{program}.json",
            lab=self.lab,
        )

    def create(self, *, ceph_conf: Path) -> None:
        """Make the host's folder."""
        for name, _ in PRIVATE:
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "run/lock").mkdir(exist_ok=True)
        names = " ".join(f"kvm-{number}" for number in range(1, MOST_HOSTS + 1))
        # libvirt looks its own name up at each start, and migration the other host's.
        (self.folder / "hosts.txt").write_text(f"127.0.0.1 localhost {names}\n")
        host_uuid = uuid.uuid5(uuid.NAMESPACE_URL, str(self.folder))
        (self.folder / "etc/libvirtd.conf").write_text(LIBVIRTD_CONF.format(uuid=host_uuid))
        (self.folder / "etc/qemu.conf").write_text(QEMU_CONF)
        (self.folder / "etc/virtlogd.conf").write_text(VIRTLOGD_CONF)
        self.virtrbd_config.write_text(self._virtrbd_config(ceph_conf))

    def _virtrbd_config(self, ceph_conf: Path) -> str:
        # A JSON string is a YAML string too, whatever the path holds.
        return f"""\
connect: {json.dumps(self.uri)}
host: {self.name}
state_dir: {json.dumps(str(self.folder / "virtrbd"))}
ceph:
  conf: {json.dumps(str(ceph_conf))}
  user: virtrbd
  pool: vms
timeouts:
  watcher: 15
hook:
  folder: {json.dumps(str(self.folder / "etc/hooks/qemu.d"))}
defaults:
  hypervisor: qemu
"""

    def start(self) -> tuple[Daemon, ...]:
        """Start those daemons that do not run, and return them; wait_until_ready says when they answer."""
        dead = tuple(daemon for daemon in self.daemons() if daemon.process() is None)
        for daemon in dead:
            daemon.start()
        return dead

    def wait_until_ready(self) -> None:
        """Wait until libvirtd answers."""
        wait_for(f"{self.name} to answer", self.answers, seconds=READY_WITHIN, daemons=self.daemons())

    def answers(self) -> bool:
        """Tell whether libvirtd answers."""
        return self.running_domains() is not None

    def running_domains(self) -> tuple[str, ...] | None:
        """Return the names of the running domains; None when libvirtd does not answer."""
        try:
            names = run(("/usr/bin/virsh", "--connect", self.uri, "list", "--name"), seconds=10)
        except LabError:
            return None
        return tuple(sorted(names.split()))

    def processes(self) -> Iterator[Process]:
        """Yield every process that lives in this host: its daemons, its QEMUs, whatever they started.

        The kernel tells that, not a record: the host's folder is their /run, and nobody else's.
        """
        for process in all_processes():
            with suppress(OSError):
                if os.path.samefile(f"/proc/{process.pid}/root/run", self.folder / "run"):
                    yield process
