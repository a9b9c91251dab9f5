"""How QEMU's programs name the file that they read: by its descriptor, its format, and nothing that it names itself."""

import json
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from virtrbd.errors import UnavailableError
from virtrbd.host.confined import Rights, other_user, start_confined
from virtrbd.host.source_file import Source
from virtrbd.qemu.formats.look import Look

# Of the six only these can have a backing file, and only they take it that they have none.
_HAVE_BACKING = ("qcow2", "vmdk")
_SERVES_WITHIN_S = 10.0
# It serves as long as the slowest transfer takes; what it does for a byte is next to nothing.
_SERVER = Rights(as_own_user=True, cpu_s=24 * 3600)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """The name of an open image file, and the descriptor that the program needs for it; `path` is for messages."""

    name: str
    descriptor: int
    path: str


@contextmanager
def readable_node(source: Source) -> Iterator[Node]:
    """Yield the source as a program can read it that runs as another user.

    Opening /proc/self/fd/N asks for the rights to the file once more. A file that others may not read is handed out
    by a qemu-nbd that runs as we do and sees raw bytes only: half as slow again, but nobody has to be let in.
    """
    if other_user() is None or source.is_readable_by_all:
        driver = "host_device" if source.is_block_device else "file"
        yield _node(source, _descriptor_file(source.descriptor, driver), source.descriptor)
        return
    with _served(source) as connection:
        server = {"type": "fd", "str": str(connection.fileno())}
        yield _node(source, {"driver": "nbd", "server": server}, connection.fileno())


def own_node(path: str, descriptor: int, file_format: str) -> Node:
    """Return a regular file that virtrbd wrote itself."""
    name = _name(Look(format=file_format, size_bytes=0), _descriptor_file(descriptor))
    return Node(name=name, descriptor=descriptor, path=path)


def _node(source: Source, file: Mapping[str, object], descriptor: int) -> Node:
    return Node(name=_name(source.look, file), descriptor=descriptor, path=source.path)


def _descriptor_file(descriptor: int, driver: str = "file") -> Mapping[str, object]:
    return {"driver": driver, "filename": f"/proc/self/fd/{descriptor}"}


def _name(look: Look, file: Mapping[str, object]) -> str:
    node: dict[str, object] = {"driver": look.format, "file": file}
    if look.format in _HAVE_BACKING:
        node["backing"] = None
    if look.vhd_size_source:
        node["force_size_calc"] = look.vhd_size_source
    return f"json:{json.dumps(node)}"


@contextmanager
def _served(source: Source) -> Iterator[socket.socket]:
    """Yield a connection to what serves the raw bytes of the source. Raises UnavailableError."""
    driver = "host_device" if source.is_block_device else "file"
    raw = _name(Look(format="raw", size_bytes=0), _descriptor_file(source.descriptor, driver))
    with socket.socket(socket.AF_UNIX) as connection, ExitStack() as stack:
        with tempfile.TemporaryDirectory(prefix="virtrbd-") as folder:
            at = str(Path(folder) / "nbd")
            words = ["qemu-nbd", "--read-only", "--socket", at, "--", raw]
            server = stack.enter_context(start_confined(words, _SERVER, [source.descriptor]))
            stack.callback(server.kill)
            _connect(connection, at, server, source.path)
        yield connection


def _connect(connection: socket.socket, at: str, server: subprocess.Popen[bytes], path: str) -> None:
    """Connect to the server once it is there. Raises UnavailableError."""
    give_up_at = time.monotonic() + _SERVES_WITHIN_S
    while connection.connect_ex(at):
        if server.poll() is not None or time.monotonic() > give_up_at:
            server.kill()
            said = server.stderr.read().decode(errors="replace").strip() if server.stderr else ""
            raise UnavailableError(f"{path}: qemu-nbd does not serve it: {said or 'no answer'}")
        time.sleep(0.001)
