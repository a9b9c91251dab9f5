"""qemu-img, the fastest tool for bulk transfers: dies with virtrbd, shows progress, never hangs the run."""

import os
import re
import select
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

from virtrbd.errors import ClusterError, DeniedError, UnavailableError
from virtrbd.images.confined import Rights, start_confined
from virtrbd.images.source_node import Node

# An idle client still reads a few bytes of keepalives.
_MOVED_BYTES = 64 * 1024
_DENIED = re.compile("Operation not permitted|Permission denied")
_SHOWN_BYTES = 8192


class Work(Struct, frozen=True, kw_only=True):
    """The work of qemu-img: its arguments, `what` for messages, its rights, and the descriptors that it needs.

    `nodes` are the files among the arguments: messages name them by their paths.
    """

    words: Sequence[str]
    what: str
    rights: Rights
    descriptors: Sequence[int]
    nodes: Sequence[Node] = ()


def run_qemu_img(work: Work, stall_s: float, watch: Callable[[float], None]) -> None:
    """Run qemu-img; `watch` gets the percentage at least once a second, and ends the run by what it raises.

    Raises ClusterError when qemu-img fails, DeniedError where it has no rights, UnavailableError when it moves nothing
    for `stall_s` seconds.
    """
    with start_confined(["qemu-img", *work.words], work.rights, work.descriptors) as process:
        try:
            servers = [node.server for node in work.nodes if node.server]
            said = _follow(process, servers, work.what, stall_s, watch)
        finally:
            if process.poll() is None:
                process.kill()
        assert process.stderr is not None, "it was asked for"
        if process.returncode:
            message = in_short((process.stderr.read(_SHOWN_BYTES) + said).decode(errors="replace"), *work.nodes)
            kind = DeniedError if _DENIED.search(message) else ClusterError
            raise kind(f"{work.what}: {message or f'qemu-img ended with {process.returncode}'}")


def in_short(text: str, *nodes: Node) -> str:
    """Return qemu-img's messages; of lines that differ only in numbers the first: each of its sixteen requests fails
    separately. Files have their paths there."""
    for node in nodes:
        text = text.replace(node.name, node.path).replace(f"/proc/self/fd/{node.descriptor}'", f"{node.path}'")
    by_shape: dict[str, str] = {}
    for line in text.replace("qemu-img: ", "").strip().splitlines():
        by_shape.setdefault(re.sub(r"\d+", "", line), line)
    return "; ".join(by_shape.values())


def _follow(
    process: subprocess.Popen[bytes],
    servers: Sequence[int],
    what: str,
    stall_s: float,
    watch: Callable[[float], None],
) -> bytes:
    """Return its standard output besides its progress. Data that servers read for it is progress too."""
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
        # It reports whole percents only: one percent of a large image takes minutes.
        elif (now_bytes := sum(map(_read_bytes, [process.pid, *servers]))) >= moved_bytes + _MOVED_BYTES:
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
