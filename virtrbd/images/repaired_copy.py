"""A repaired copy of a qcow2 that was not closed: its data is whole, and qemu-img counts its refcounts again."""

import os
import subprocess
from contextlib import ExitStack

from virtrbd.ending import obey_here
from virtrbd.errors import SpecError
from virtrbd.images.confined import Rights, other_user, start_confined
from virtrbd.images.qemu_img import in_short
from virtrbd.images.source_check import came_to_limits, said_to_its_end
from virtrbd.images.source_file import OpenFile, Source
from virtrbd.images.source_node import own_node
from virtrbd.images.verify import read_chunk
from virtrbd.local.image_cache import ImageCache, opened_cache
from virtrbd.model.record import replace
from virtrbd.model.settings import ImportSettings
from virtrbd.qemu.formats.look import look

# qemu-img repairs 32 MiB of a qcow2 in a second where its clusters are the smallest, of 512 bytes.
_LEAST_S, _BYTES_A_S = 60, 16 * 1024**2


def repaired_copy(stack: ExitStack, source: Source, settings: ImportSettings) -> Source:
    """Return the copy, which has no name and is closed with `stack`. Raises SpecError where it cannot be repaired."""
    cache = stack.enter_context(opened_cache(settings))
    with cache.writing() as descriptor:
        _copy(source.file, descriptor, cache)
        source.file.require_still()
        _repair(source, descriptor, cache)
        os.fchmod(descriptor, 0o444)
        found = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    stack.callback(os.close, found)
    stat = os.fstat(found)
    file = replace(
        source.file, descriptor=found, stat=stat, at=0, length=stat.st_size, is_leased=False, is_own=True,
        identity=f"{source.file.identity} repaired",
    )  # fmt: skip
    return Source(file=file, look=look(file.image, source.look.format))


def _copy(file: OpenFile, target: int, cache: ImageCache) -> None:
    done = 0
    while chunk := read_chunk(file, done):
        obey_here()
        cache.require_room(done, len(chunk), f"a copy of {file.path}")
        cache.write(target, chunk, done)
        done += len(chunk)
    os.truncate(target, done)


def _repair(source: Source, descriptor: int, cache: ImageCache) -> None:
    node = own_node(source.path, descriptor, source.look.format)
    user = other_user()
    if user is not None:
        # It has no name: its owner matters only to the program that opens it by its descriptor.
        os.fchown(descriptor, user, -1)
    words = ["qemu-img", "check", "-q", "-r", "all", "--", node.name]
    allowed_s = _allowed_s(os.fstat(descriptor).st_size)
    rights = Rights(file_bytes=cache.largest_bytes, cpu_s=allowed_s)
    with start_confined(words, rights, [descriptor], subprocess.DEVNULL) as process:
        assert process.stderr is not None, "it was asked for"
        try:
            raw = said_to_its_end(process.stderr, source.path, allowed_s)
        finally:
            process.kill()
        code = process.wait()
    if user is not None:
        os.fchown(descriptor, os.geteuid(), -1)
    _judge(source.path, code, in_short(raw.decode(errors="replace"), node))


def _allowed_s(length: int) -> int:
    """Return how long a repair may take, in all and of CPU time."""
    return _LEAST_S + length // _BYTES_A_S


def _judge(path: str, code: int, said: str) -> None:
    """Raise SpecError where the copy was not repaired."""
    failed = f"{path}: its copy cannot be repaired"
    if code < 0:
        raise SpecError(f"{failed}: {came_to_limits(code)}; repair it where it was made")
    if code:
        raise SpecError(f"{failed}: {said or f'qemu-img says {code}'}; get it again")
