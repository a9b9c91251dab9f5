"""qemu-img: the fastest tool for bulk transfers, run so that it dies with us, shows progress and never hangs us."""

import os
import re
import select
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from virtrbd.errors import ClusterError, DeniedError, UnavailableError
from virtrbd.model.image import ImageRef
from virtrbd.model.settings import CephSettings

# A writer that outlives a killed virtrbd would go on into an image that the next run makes anew. The kernel kills it
# with the *thread* that started it, so that must be one that lives as long as the transfer. `sh` looks whether we were
# dead before setpriv could ask for that.
_WITH_US = ("setpriv", "--pdeathsig", "KILL", "sh", "-c", 'test "$PPID" = "$0" && exec "$@"')
# An idle client still reads a few bytes of keepalives.
_MOVED_BYTES = 64 * 1024
_DENIED = re.compile("Operation not permitted|Permission denied")


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

    Raises ClusterError when qemu-img fails, DeniedError where it has no rights, UnavailableError when it moves nothing
    for `stall_s` seconds.
    """
    with _started(["qemu-img", *words]) as process:
        try:
            said = _follow(process, what, stall_s, watch)
        finally:
            if process.poll() is None:
                process.kill()
        assert process.stderr is not None, "it was asked for"
        if process.returncode:
            message = _in_short((process.stderr.read() + said).decode(errors="replace"))
            kind = DeniedError if _DENIED.search(message) else ClusterError
            raise kind(f"{what}: {message or f'qemu-img ended with {process.returncode}'}")


def _in_short(text: str) -> str:
    """Return what qemu-img said, of lines that differ in their numbers alone the first: each of its sixteen requests
    fails for itself."""
    by_shape: dict[str, str] = {}
    for line in text.replace("qemu-img: ", "").strip().splitlines():
        by_shape.setdefault(re.sub(r"\d+", "", line), line)
    return "; ".join(by_shape.values())


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
