"""A server of a file's raw bytes, for a program that may not open the file itself."""

import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from msgspec import Struct

from virtrbd.errors import UnavailableError
from virtrbd.images.confined import Rights, start_confined

_SERVES_WITHIN_S = 10.0
# It has the rights to the file, so it is qemu-nbd with the format raw: it interprets no bytes of the file. It serves
# as long as the slowest transfer takes, with next to no work for a byte.
_RIGHTS = Rights(as_own_user=True, cpu_s=24 * 3600)


class Served(Struct, frozen=True, kw_only=True):
    """The descriptor of a connection, for one client, and the process at its other end."""

    connection: int
    server: int


@contextmanager
def serving(name: str, descriptor: int, path: str) -> Iterator[Served]:
    """Yield a connection that serves the file of this QEMU name.

    `descriptor` is what the name needs, `path` for messages. Raises UnavailableError.
    """
    with socket.socket(socket.AF_UNIX) as connection, ExitStack() as stack:
        # Only this user can enter the folder, and after the connection it is not needed.
        with _folder_of_its_own(path) as folder:
            at = str(Path(folder) / "nbd")
            words = ["qemu-nbd", "--read-only", "--socket", at, "--", name]
            server = stack.enter_context(start_confined(words, _RIGHTS, [descriptor]))
            stack.callback(server.kill)
            _connect(connection, at, server, path)
        yield Served(connection=connection.fileno(), server=server.pid)


@contextmanager
def _folder_of_its_own(path: str) -> Iterator[str]:
    """Yield a new folder for a socket. Raises UnavailableError where there is no room for one."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="virtrbd-")
    except OSError as error:
        fact = f"{path}: no folder for a socket to serve it by: {error.strerror or error}"
        raise UnavailableError(f"{fact}; make room in /tmp") from None
    with folder as name:
        yield name


def _connect(connection: socket.socket, at: str, server: "subprocess.Popen[bytes]", path: str) -> None:
    """Connect to the server once it is there. Raises UnavailableError."""
    give_up_at = time.monotonic() + _SERVES_WITHIN_S
    while connection.connect_ex(at):
        if server.poll() is not None or time.monotonic() > give_up_at:
            server.kill()
            said = server.stderr.read().decode(errors="replace").strip() if server.stderr else ""
            raise UnavailableError(f"{path}: qemu-nbd does not serve it: {said or 'no answer'}")
        time.sleep(0.001)
