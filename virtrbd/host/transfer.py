"""Bulk transfers by qemu-img: the fastest tool for it, fed without a key on its command line."""

import json
import os
import re
import select
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

from virtrbd.errors import ClusterError, UnavailableError, VirtrbdError
from virtrbd.model.image import ImageRef
from virtrbd.model.settings import Settings

Progress = Callable[[float], None]

# A writer that outlives a killed virtrbd would go on into an image that the next run makes anew. The kernel kills it
# with the *thread* that started it, so that must be one that lives as long as the transfer. `sh` looks whether we were
# dead before setpriv could ask for that.
_WITH_US = ("setpriv", "--pdeathsig", "KILL", "sh", "-c", 'test "$PPID" = "$0" && exec "$@"')


def file_size(path: str) -> int | None:
    """Return the virtual size in bytes of an image file of any format qemu-img reads, or None.

    Raises VirtrbdError when the file refers to another one: a backing file or data file named inside an
    uploaded image would be read as root.
    """
    info = _info(path)
    if info is None:
        return None
    details = info.get("format-specific", {}).get("data", {})
    other = info.get("backing-filename") or (details.get("data-file") if isinstance(details, dict) else None)
    if other:
        raise VirtrbdError(f"{path}: refers to {other}; flatten it first with qemu-img convert")
    return int(info["virtual-size"])


def _info(path: str) -> dict[str, Any] | None:
    try:
        done = subprocess.run(
            ["qemu-img", "info", "--output=json", "--", _as_file(path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except FileNotFoundError:
        raise UnavailableError("qemu-img is missing; apt install qemu-utils") from None
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"{path}: qemu-img info did not answer within 60 s") from None
    info: dict[str, Any] | None = json.loads(done.stdout) if done.returncode == 0 else None
    return info


def _as_file(path: str) -> str:
    # `file:` keeps qemu-img from reading a colon in a name as a protocol.
    return f"file:{os.path.abspath(path)}"


def import_file(path: str, ref: ImageRef, settings: Settings, progress: Progress) -> None:
    """Copy a file into an image that exists and is all zeroes.

    -n and --target-is-zero: no zeroes are written; -W with -m 16: out of order, 16 at a time; without -W, -m
    changes nothing. The key comes from the keyring that ceph.conf names. Raises ClusterError, UnavailableError.
    """
    options = [f"id={settings.ceph.user}", f"conf={settings.ceph.conf}"]
    if settings.ceph.keyring:
        options.append(f"keyring={settings.ceph.keyring}")
    target = ":".join([f"rbd:{ref}", *map(_escaped, options)])
    command = ["qemu-img", "convert", "-p", "-n", "--target-is-zero", "-W", "-m", "16", "-O", "raw", "--"]
    with _started([*command, _as_file(path), target]) as process:
        try:
            _follow(process, settings.timeouts.transfer, progress)
        finally:
            if process.poll() is None:
                process.kill()
        assert process.stderr is not None, "it was asked for"
        if process.returncode:
            message = process.stderr.read().decode(errors="replace").strip()
            raise ClusterError(f"importing {path} into {ref}: {message}")


def _started(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a program that dies with us. Raises UnavailableError."""
    try:
        return subprocess.Popen(
            [*_WITH_US, str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except FileNotFoundError:
        raise UnavailableError("setpriv is missing; apt install util-linux") from None


def _escaped(option: str) -> str:
    """QEMU's rbd file names end an option at `:`; a backslash keeps it."""
    return option.replace("\\", "\\\\").replace(":", "\\:")


def _follow(process: subprocess.Popen[bytes], stall_s: float, progress: Progress) -> None:
    """Report progress until the process ends. Raises UnavailableError when it makes none for too long."""
    assert process.stdout is not None, "it was asked for"
    best, moved_at = -1.0, time.monotonic()
    while True:
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, moved_at + stall_s - time.monotonic()))
        if not ready:
            raise UnavailableError(
                f"no progress for {stall_s:g} s; the half image stays marked, the next run starts anew"
            )
        chunk = os.read(process.stdout.fileno(), 4096)
        if not chunk:
            process.wait()
            return
        for found in re.findall(rb"\((\d+\.\d+)/100%\)", chunk):
            if float(found) > best:
                best, moved_at = float(found), time.monotonic()
                progress(best)
