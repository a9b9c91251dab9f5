"""qemu-img: the fastest tool for bulk transfers, run so that it dies with us, shows progress and never hangs us."""

import json
import os
import re
import select
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from virtrbd.errors import ClusterError, SpecError, UnavailableError, VirtrbdError
from virtrbd.model.image import ImageRef
from virtrbd.model.settings import CephSettings

# A writer that outlives a killed virtrbd would go on into an image that the next run makes anew. The kernel kills it
# with the *thread* that started it, so that must be one that lives as long as the transfer. `sh` looks whether we were
# dead before setpriv could ask for that.
_WITH_US = ("setpriv", "--pdeathsig", "KILL", "sh", "-c", 'test "$PPID" = "$0" && exec "$@"')
# An idle client still reads a few bytes of keepalives.
_MOVED_BYTES = 64 * 1024
# To look at a file: a check reads all tables of a large one.
_ANSWERS_WITHIN_S = 60.0


def read_as(path: str, file_format: str = "") -> list[str]:
    """Return the words that make qemu-img read the path in this format; an empty one is what it takes a file for.

    A block device is raw unless said otherwise: what a guest wrote to it may look like another format.
    """
    file_format = file_format or ("raw" if Path(path).is_block_device() else "")
    return ["-f", file_format] if file_format else []


def file_size(path: str, file_format: str = "") -> int | None:
    """Return the virtual size in bytes of an image file of a format that qemu-img reads, or of a block device, or None.

    Raises VirtrbdError when the file refers to another one: a backing file or data file named inside an
    uploaded image would be read as root.
    """
    info = _info(path, file_format)
    if info is None:
        return None
    if others := _others(path, info):
        raise VirtrbdError(f"{path}: refers to {others[0]}; flatten it first with qemu-img convert")
    return int(info["virtual-size"])


def _others(path: str, info: dict[str, Any]) -> list[str]:
    """Return the other files that the image needs: its backing file, its data file, the extents of a VMDK."""
    details = info.get("format-specific", {}).get("data", {})
    details = details if isinstance(details, dict) else {}
    extents = [str(extent.get("filename", "")).removeprefix("file:") for extent in details.get("extents", ())]
    named = [info.get("backing-filename"), details.get("data-file"), *extents]
    return [str(name) for name in named if name and os.path.realpath(name) != os.path.realpath(path)]


def refuse_broken(path: str, file_format: str = "") -> None:
    """Raise SpecError for a file that is not whole: of one cut short qemu-img copies what is missing as zeroes."""
    done = _run(["check", "--output=json", *read_as(path, file_format), "--", as_file(path)], path)
    # 2: corrupt, 1: it could not be read through. 3 are clusters that nobody uses, and some formats have no check.
    if done.returncode in (1, 2):
        raise SpecError(f"{path}: is damaged or cut short; see qemu-img check {path}, and get it anew")


def _info(path: str, file_format: str) -> dict[str, Any] | None:
    done = _run(["info", "--output=json", *read_as(path, file_format), "--", as_file(path)], path)
    info: dict[str, Any] | None = json.loads(done.stdout) if done.returncode == 0 else None
    return info


def _run(words: Sequence[str], path: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["qemu-img", *words], capture_output=True, text=True, timeout=_ANSWERS_WITHIN_S, check=False
        )
    except FileNotFoundError:
        raise UnavailableError("qemu-img is missing; apt install qemu-utils") from None
    except subprocess.TimeoutExpired:
        text = f"{path}: qemu-img {words[0]} did not answer within {_ANSWERS_WITHIN_S:g} s"
        raise UnavailableError(text) from None


def as_file(path: str) -> str:
    """Return the file as qemu-img names it: without `file:` a colon in its name would be read as a protocol.

    For block devices QEMU has another driver, and `file:` refuses them.
    """
    driver = "host_device" if Path(path).is_block_device() else "file"
    return f"{driver}:{os.path.abspath(path)}"


def as_image(ref: ImageRef, ceph: CephSettings) -> str:
    """Return the image as qemu-img names it. The key comes from the keyring, never by the command line."""
    options = [f"id={ceph.user}", f"conf={ceph.conf}"]
    if ceph.keyring:
        options.append(f"keyring={ceph.keyring}")
    # QEMU's rbd file names end an option at `:`; a backslash keeps it.
    words = [word.replace("\\", "\\\\").replace(":", "\\:") for word in (str(ref), *options)]
    return ":".join(["rbd", *words])


def run_qemu_img(words: Sequence[str], what: str, stall_s: float, watch: Callable[[float], None]) -> None:
    """Run qemu-img; `watch` gets the percentage at least once a second, and ends the run by what it raises.

    Raises ClusterError when qemu-img fails, UnavailableError when it moves nothing for `stall_s` seconds.
    """
    with _started(["qemu-img", *words]) as process:
        try:
            said = _follow(process, what, stall_s, watch)
        finally:
            if process.poll() is None:
                process.kill()
        assert process.stderr is not None, "it was asked for"
        if process.returncode:
            message = (process.stderr.read() + said).decode(errors="replace").strip().removeprefix("qemu-img: ")
            raise ClusterError(f"{what}: {message or f'qemu-img ended with {process.returncode}'}")


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


def _follow(process: subprocess.Popen[bytes], what: str, stall_s: float, watch: Callable[[float], None]) -> bytes:
    """Return what it said on its standard output besides its progress."""
    assert process.stdout is not None, "it was asked for"
    percent, moved_bytes, moved_at, said = 0.0, 0, time.monotonic(), b""
    while True:
        ready, _, _ = select.select([process.stdout], [], [], 1.0)
        if ready:
            chunk = os.read(process.stdout.fileno(), 4096)
            if not chunk:
                process.wait()
                return said.strip()
            found = [float(each) for each in re.findall(rb"\((\d+\.\d+)/100%\)", chunk)]
            said += re.sub(rb"\s*\(\d+\.\d+/100%\)\s*", b"", chunk)
            percent, moved_at = max([percent, *found]), time.monotonic()
        # It tells of whole percents only: of a large image one takes minutes.
        elif (now_bytes := _read_bytes(process.pid)) >= moved_bytes + _MOVED_BYTES:
            moved_bytes, moved_at = now_bytes, time.monotonic()
        watch(percent)
        if time.monotonic() > moved_at + stall_s:
            raise UnavailableError(f"{what}: no progress for {stall_s:g} s; check `ceph status`, then run again")


def _read_bytes(pid: int) -> int:
    """Return the bytes that the process has read so far, from files and sockets: 0 when it is gone."""
    try:
        found = re.search(r"^rchar: (\d+)$", Path(f"/proc/{pid}/io").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found else 0
