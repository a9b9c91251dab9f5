"""Check by `qemu-img check` that an image file is whole, while the caller prepares the image."""

import os
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from virtrbd.errors import SpecError, UnavailableError
from virtrbd.images.confined import Rights, start_confined
from virtrbd.images.qemu_img import in_short
from virtrbd.images.source_file import Source
from virtrbd.images.source_node import readable_node
from virtrbd.printable import shell_command

# It reads all tables of a large file, and keeps a count for each of its clusters.
_ANSWERS_WITHIN_S = 60.0
_RIGHTS = Rights(cpu_s=int(_ANSWERS_WITHIN_S))
# 2: corrupt, 1: it could not be read through. 3 are clusters that nothing uses; 63: the format has no check.
_BROKEN = (1, 2)
_SHOWN_BYTES = 8192


@contextmanager
def looking_for_damage(source: Source) -> Iterator[Callable[[], None]]:
    """Yield a function that waits until the source was found whole; nothing of the check stays.

    The call raises SpecError for a source that is not whole: qemu-img would copy missing parts as zeroes.
    """
    if source.look.format == "raw":
        yield lambda: None
        return
    with (
        readable_node(source) as node,
        start_confined(
            ["qemu-img", "check", "--", node.name], _RIGHTS, [node.descriptor], subprocess.DEVNULL
        ) as process,
    ):

        def require_whole() -> None:
            assert process.stderr is not None, "it was asked for"
            said = said_to_its_end(process.stderr, source.path)
            process.wait()
            source.file.require_still()
            _judge(source, process.returncode, in_short(said.decode(errors="replace"), node))

        try:
            yield require_whole
        finally:
            if process.poll() is None:
                process.kill()


def said_to_its_end(stderr: IO[bytes], path: str, within_s: float = _ANSWERS_WITHIN_S) -> bytes:
    """Wait for the end of the messages, and return their beginning: there may be a line for each cluster."""
    give_up_at, said = time.monotonic() + within_s, b""
    while (left_s := give_up_at - time.monotonic()) > 0:
        if not select.select([stderr], [], [], left_s)[0]:
            break
        chunk = os.read(stderr.fileno(), 64 * 1024)
        if not chunk:
            return said
        said = (said + chunk)[:_SHOWN_BYTES]
    raise UnavailableError(f"{path}: qemu-img check did not answer within {within_s:g} s")


def came_to_limits(code: int) -> str:
    """Return the message about a check that a signal ended."""
    return f"qemu-img check came to its limits of time and memory (signal {-code})"


def _judge(source: Source, code: int, said: str) -> None:
    """Raise SpecError for what a check found."""
    path = source.path
    if code in _BROKEN and source.look.is_dirty:
        is_named = not source.file.is_own and not source.file.is_part
        by_hand = f": `{shell_command('qemu-img check -r all -f qcow2', path)}`" if is_named else " where it was made"
        fact = "was not closed, its guest or its host crashed (lazy refcounts)"
        raise SpecError(f"{path}: {fact}; import a repaired copy with --repair-copy, or repair it{by_hand}")
    fact = said.partition("\n")[0]
    if code < 0:
        fact = came_to_limits(code)
    if code < 0 or code in _BROKEN:
        raise SpecError(f"{path}: is damaged or cut short: {fact or 'qemu-img check finds errors'}; get the file again")
