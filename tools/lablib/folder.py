"""The lab's folder: where it is, what it is made from, and the lock that only one `up` or `down` holds."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from .errors import LabError

LONGEST_SOCKET_PATH = 107  # bytes; sun_path of unix(7) has 108 with its closing NUL
LONGEST_SOCKET = "hosts/kvm-9/run/libvirt/libvirt-sock"
"""The longest path of a socket within the lab that is used from outside its mount namespaces."""
HIDDEN = (
    "/run",
    "/var/run",
    "/etc/libvirt",
    "/etc/ceph",
    "/var/lib/libvirt",
    "/var/log/libvirt",
    "/var/cache/libvirt",
    "/var/lib/swtpm-localca",
    "/var/log/swtpm",
)
"""Folders that a host sees its own version of, so that a lab cannot lie in them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a whole lab was made from; written last, so a lab without it was never finished."""

    boot: str
    fsid: str
    store: str
    mon_ports: tuple[int, int]  # messenger v2, v1


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder that holds everything of one lab."""

    path: Path

    @property
    def ceph(self) -> Path:
        """The folder of Ceph's confs, keyrings, data and logs."""
        return self.path / "ceph"

    @property
    def hosts(self) -> Path:
        """The folder with one folder a host."""
        return self.path / "hosts"

    @property
    def lock(self) -> Path:
        """The file that is locked; it also marks the folder as a lab's."""
        return self.path / "lab.lock"

    @property
    def state(self) -> Path:
        """The file that holds the State."""
        return self.path / "lab.json"

    def read_state(self) -> State | None:
        """Return what the lab was made from; None when there is no (finished) lab."""
        try:
            fields = json.loads(self.state.read_text())
            return State(**fields | {"mon_ports": tuple(fields["mon_ports"])})
        except (FileNotFoundError, ValueError, KeyError, TypeError):  # none, or another version's
            return None

    def write_state(self, state: State) -> None:
        """Keep what the lab was made from."""
        unfinished = self.state.with_suffix(".new")
        unfinished.write_text(json.dumps(asdict(state), indent=2) + "\n")
        unfinished.replace(self.state)

    def clear(self) -> None:
        """Remove everything but the lock."""
        for entry in self.path.iterdir():
            if entry == self.lock:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def remove(self) -> None:
        """Remove the folder with everything in it, the lock last."""
        self.clear()
        self.lock.unlink()
        self.path.rmdir()


def locate(checkout: Path) -> Folder:
    """Return the lab's folder, whether it exists or not. Raises LabError when no lab can work there."""
    wanted = os.environ.get("VIRTRBD_LAB_DIR")
    path = Path(wanted).resolve() if wanted else checkout / ".lab"
    length = len(os.fsencode(path / LONGEST_SOCKET))
    if length > LONGEST_SOCKET_PATH:
        raise LabError(
            f"lab folder {path}",
            f"its sockets' paths would be {length} bytes long, and Linux takes {LONGEST_SOCKET_PATH}",
            "set VIRTRBD_LAB_DIR to a short path, e.g. /tmp/lab",
        )
    for hidden in HIDDEN:
        if path.is_relative_to(hidden):
            raise LabError(
                f"lab folder {path}",
                f"hosts cannot see this machine's {hidden}",
                "choose another VIRTRBD_LAB_DIR",
            )
    return Folder(path)


@contextmanager
def locked(folder: Folder, *, create: bool) -> Iterator[bool]:
    """Hold the lab's lock; yield False (and hold nothing) when there is no lab and `create` is not set."""
    if not create and not folder.lock.exists():
        yield False
        return
    _check_is_ours(folder)
    descriptor = _lock(folder)
    try:
        yield True
    finally:
        os.close(descriptor)


def _check_is_ours(folder: Folder) -> None:
    """Raise LabError when the folder holds other things than a lab: `down` removes it with all it holds."""
    if folder.path.exists() and not folder.lock.exists() and any(folder.path.iterdir()):
        raise LabError(f"lab folder {folder.path}", "it holds files, but no lab", "choose an empty folder")


def _lock(folder: Folder) -> int:
    """Return the descriptor of the locked lock file; waits while another run holds it."""
    while True:
        folder.path.mkdir(mode=0o755, parents=True, exist_ok=True)
        try:
            descriptor = os.open(folder.lock, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:  # a `down` removed the folder just now
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("lab: waiting for another tools/lab that is at work here", file=sys.stderr)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        # The one that we waited for may have removed the lab: then our lock is on a file that is no more.
        if _is_at(descriptor, folder.lock):
            return descriptor
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    """Tell whether the open file is the one that the path names now."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
