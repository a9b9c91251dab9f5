"""Start QEMU's programs with only the rights that they need, so that an untrusted file can't do harm through them.

Without the rights to change users (not root, a container) they run as the user that virtrbd runs as, and still die
with it, gain no new privileges and have limits.
"""

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from virtrbd.errors import UnavailableError

# A writer that outlives a killed virtrbd would write into an image that the next run makes again. The kernel kills it
# with the *thread* that started it, so that thread must live as long as the transfer. `sh` checks whether virtrbd died
# before setpriv requested that. A change of user cancels the request, so setpriv makes it afterwards.
_WITH_US = ("setpriv", "--no-new-privs", "--pdeathsig", "KILL", "--", "sh", "-c")
_START = 'test "$PPID" = "$0" && exec "$@"'
# Not in the table of users: below what useradd gives to containers (100,000), beyond services and people. A
# separate one for each virtrbd, so that no two of these programs can reach each other.
_FIRST_USER, _USERS = 65536, 34000
# linux/capability.h: KILL, SETGID, SETUID, SETPCAP; SYS_PTRACE shows the progress of another user's program.
_TO_CHANGE_USERS = (5, 6, 7, 8, 19)
_SYS_ADMIN = 21
_GIB = 1024**3
_PACKAGES = {"gzip": "gzip", "xz": "xz-utils", "zstd": "zstd", "bzip2": "bzip2"}


class Rights(Struct, frozen=True, kw_only=True):
    """The rights of a program: as another user or as virtrbd's own, with a network or without, up to these limits.

    `memory_bytes` is address space, of which librbd's threads reserve 1.5 GiB; `file_bytes` None means no limit.
    """

    as_own_user: bool = False
    network: bool = False
    memory_bytes: int = 2 * _GIB
    cpu_s: int = 60
    file_bytes: int | None = 0


def other_user() -> int | None:
    """Return the user that programs run as, None where they can't run as another user."""
    return _FIRST_USER + os.getpid() % _USERS if os.geteuid() == 0 and _have(*_TO_CHANGE_USERS) else None


def start_confined(
    command: Sequence[str],
    rights: Rights,
    descriptors: Sequence[int],
    stdout: int = subprocess.PIPE,
    stdin: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start a program that dies with virtrbd, and has these descriptors open. Raises UnavailableError."""
    # Not shutil.which: shutil takes as long to import as all of this.
    if not any(os.access(Path(folder) / command[0], os.X_OK) for folder in os.get_exec_path()):
        raise UnavailableError(f"{command[0]} is missing; apt install {_PACKAGES.get(command[0], 'qemu-utils')}")
    try:
        return subprocess.Popen(
            [*_before(rights), *_WITH_US, f"{_limits(rights)}{_START}", str(os.getpid()), *command],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            pass_fds=descriptors,
        )
    except FileNotFoundError:
        raise UnavailableError("setpriv or unshare is missing; apt install util-linux") from None


def _before(rights: Rights) -> Sequence[str]:
    """Return the arguments that need root's rights, and give them up."""
    words: list[str] = []
    if not rights.network and os.geteuid() == 0 and _have(_SYS_ADMIN):
        words += ["unshare", "--net", "--"]
    if not rights.as_own_user and (user := other_user()) is not None:
        words += ["setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups"]
        words += ["--inh-caps=-all", "--bounding-set=-all", "--"]
    return words


def _limits(rights: Rights) -> str:
    """Return the shell's words for the limits. Where a lower one holds already it stays."""
    limits: Mapping[str, int | None] = {
        "-c": 0,
        "-v": rights.memory_bytes // 1024,
        "-t": rights.cpu_s,
        "-f": None if rights.file_bytes is None else rights.file_bytes // 512,
        # librbd has sockets to each OSD: the number of descriptors depends on the cluster.
        "-n": None if rights.network else 64,
    }
    return "".join(f"ulimit {word} {most} 2>/dev/null; " for word, most in limits.items() if most is not None)


def _have(*capabilities: int) -> bool:
    [found] = re.findall(r"^CapEff:\s*([0-9a-f]+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return all(int(found, 16) >> each & 1 for each in capabilities)
