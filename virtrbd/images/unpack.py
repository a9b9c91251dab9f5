"""Unpack gzip, xz, zstd and bzip2 files into the cache, by the programs of these names.

A packed file is untrusted, and its reader is C: the program runs as confined as QEMU's, without rights, network and
files. It reads one pipe and writes another, so that its output is counted before it is kept.
"""

import fcntl
import hashlib
import os
import re
import select
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

from virtrbd.deadline import abandon
from virtrbd.ending import obey_here
from virtrbd.errors import SpecError, UnavailableError
from virtrbd.images.confined import Rights, start_confined
from virtrbd.images.into_cache import IntoCache
from virtrbd.images.source_file import OpenFile
from virtrbd.images.verify import digest_of_file
from virtrbd.model.digest import digest_of
from virtrbd.model.record import replace

# zstd refuses windows of more than 128 MiB by default; here the limit of memory applies instead.
# xz of version 5.6 and newer takes a thread for each core, and as much memory for each.
_COMMANDS = {
    "gzip": ("gzip", "-dc"),
    "bzip2": ("bzip2", "-dc"),
    "xz": ("xz", "-dc", "--format=xz", "--threads=1"),
    "zstd": ("zstd", "-dcq", "--long=31", "--single-thread"),
}
# A window of 2 GiB, and the program. Of an xz no writer makes more than 1.5 GiB.
_MEMORY_BYTES = 3 * 1024**3
# The slowest of them writes 5 MiB in a second of CPU time.
_LEAST_CPU_S, _BYTES_A_CPU_S = 600, 4 * 1024**2
_CHUNK_BYTES = 1024**2
_ALGORITHM = "sha256"
_SHOWN_BYTES = 4096
_GRACE_S = 1.0
# How they call themselves and their standard input.
_PREFIX = re.compile(r"^(?:gzip|bzip2|xz|zstd)?:? ?(?:\(stdin\)|stdin|/\*stdin\*\\)?\s*:\s*")


def unpack(stack: ExitStack, file: OpenFile, program: str, into: IntoCache) -> OpenFile:
    """Return the unpacked file, which `stack` closes; it is made where the cache has none.

    Raises SpecError for a damaged file, VirtrbdError for a file that is too large, UnavailableError, and what
    `into.progress` raises.
    """
    key = digest_of("unpacked", program, file.content_key)
    if found := _from_cache(stack, file, program, key, into):
        return found
    with into.cache.writing() as descriptor:
        digest = _fill(descriptor, file, program, into)
        file.require_still()
        into.cache.keep(descriptor, key, digest)
        return _opened(stack, os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC), file, program)


def _from_cache(stack: ExitStack, file: OpenFile, program: str, key: str, into: IntoCache) -> OpenFile | None:
    """Return the entry where its digest still matches; else remove it."""
    name = into.cache.proven(key)
    descriptor = into.cache.find(name) if name else None
    if name is None or descriptor is None:
        return None
    found = _opened(stack, descriptor, file, program)
    if digest_of_file(found, _ALGORITHM, into.progress).digest == name.removeprefix(f"{key}."):
        return found
    into.cache.remove(name)
    return None


def _opened(stack: ExitStack, descriptor: int, file: OpenFile, program: str) -> OpenFile:
    stack.callback(os.close, descriptor)
    stat = os.fstat(descriptor)
    return replace(
        file, descriptor=descriptor, stat=stat, at=0, length=stat.st_size, is_leased=False, is_own=True,
        content_key=f"{file.content_key} {program}",
    )  # fmt: skip


def _fill(target: int, file: OpenFile, program: str, into: IntoCache) -> str:
    """Write the unpacked content; return its digest."""
    rights = Rights(memory_bytes=_MEMORY_BYTES, cpu_s=_LEAST_CPU_S + into.cache.largest_bytes // _BYTES_A_CPU_S)
    with start_confined(_COMMANDS[program], rights, [], stdin=subprocess.PIPE) as process:
        feeder, said = _Feeder(process, file), _Said(process)
        try:
            feeder.start()
            said.start()
            digest = _copy(process, target, file, into, lambda: into.progress(feeder.done_bytes, file.length))
            code = process.wait()
        finally:
            # Both end with the program, except one that waits for a file on a server that is gone.
            process.kill()
            said.join()
            feeder.join(_GRACE_S)
            if feeder.is_alive():
                abandon(feeder.name)
        if feeder.failure:
            raise SpecError(f"{file.path}: {feeder.failure}; get the file again")
        _judge(file.path, program, code, said.text)
        return digest


def _copy(
    process: "subprocess.Popen[bytes]", target: int, file: OpenFile, into: IntoCache, report: Callable[[], None]
) -> str:
    """Write the program's output, without zeroes; return its digest."""
    assert process.stdout is not None, "it was asked for"
    output, done, digest = process.stdout.fileno(), 0, hashlib.new(_ALGORITHM)
    with suppress(OSError):
        fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, _CHUNK_BYTES)
    came_at = time.monotonic()
    while True:
        obey_here()
        if not select.select([output], [], [], 1.0)[0]:
            if time.monotonic() > came_at + into.stall_s:
                raise UnavailableError(f"{file.path}: unpacking it gave no data for {into.stall_s:g} s")
            report()
            continue
        chunk = os.read(output, _CHUNK_BYTES)
        if not chunk:
            # Zeroes at its end were not written.
            os.truncate(target, done)
            return digest.hexdigest()
        came_at = time.monotonic()
        into.cache.require_room(done, len(chunk), f"{file.path}, unpacked,")
        into.cache.write(target, chunk, done)
        digest.update(chunk)
        done += len(chunk)
        report()


def _judge(path: str, program: str, code: int, said: str) -> None:
    """Raise SpecError where a program refused the file. bzip2 accepts any data behind its end, and reports that."""
    lines = (_PREFIX.sub("", line).strip() for line in said.splitlines())
    fact = next(filter(None, lines), "")
    if code < 0:
        fact = f"{program} came to its limits of time and memory (signal {-code})"
    if code or "garbage" in said:
        raise SpecError(
            f"{path}: is damaged or cut short: {fact.rstrip(';') or f'{program} finds errors'}; get the file again"
        )


class _Feeder(threading.Thread):
    """Feeds the file to the program: only this part of it, and through its own descriptor."""

    def __init__(self, process: "subprocess.Popen[bytes]", file: OpenFile) -> None:
        super().__init__(daemon=True, name=f"reading {file.path}")
        assert process.stdin is not None, "it was asked for"
        self._pipe, self._image, self._length = process.stdin, file.image, file.length
        self.done_bytes = 0
        self.failure = ""

    def run(self) -> None:
        # A program that has enough, or was killed, no longer reads.
        with suppress(BrokenPipeError), self._pipe:
            while self.done_bytes < self._length:
                try:
                    chunk = self._image.read_at(self.done_bytes, _CHUNK_BYTES)
                except OSError as error:
                    self.failure = error.strerror or str(error)
                    return
                if not chunk:
                    return
                self._pipe.write(chunk)
                self.done_bytes += len(chunk)


class _Said(threading.Thread):
    """The program's messages: their begin is kept, and all are read, because the program waits for its reader."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        super().__init__(daemon=True, name="messages of a program")
        assert process.stderr is not None, "it was asked for"
        self._pipe = process.stderr
        self._said = b""

    def run(self) -> None:
        while chunk := os.read(self._pipe.fileno(), _SHOWN_BYTES):
            self._said = (self._said + chunk)[:_SHOWN_BYTES]

    @property
    def text(self) -> str:
        return self._said.decode(errors="replace")
