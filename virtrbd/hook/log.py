"""The hook's log: libvirt shows the operator a refusal, but nothing of a hook that let a start pass."""

import os
import time
from contextlib import suppress
from pathlib import Path

from virtrbd.local.folders import make_private
from virtrbd.printable import printable

_MOST_BYTES = 1024**2


def log(file: str, text: str) -> None:
    """Append a line with the time; the log before it is kept as `.old` when it is full. A failure is ignored."""
    with suppress(OSError):
        make_private(Path(file).parent)
        with open(
            os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "w"
        ) as to:
            to.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {printable(text)}\n")
            is_full = os.fstat(to.fileno()).st_size > _MOST_BYTES
        if is_full:
            os.replace(file, f"{file}.old")
