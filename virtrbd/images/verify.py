"""Verify that a file is the expected one: the digest of everything that its descriptor reads."""

import hashlib
from collections.abc import Callable

from virtrbd.deadline import call_within
from virtrbd.ending import obey_here
from virtrbd.errors import SpecError
from virtrbd.images.source_file import ANSWERS_WITHIN_S, OpenFile, open_file, unreadable
from virtrbd.model.checksum import Checksum, find_checksum, is_checksum, parse_checksum
from virtrbd.model.import_file import is_url, without_query
from virtrbd.model.record import replace

_CHUNK_BYTES = 4 * 1024**2
# Debian's list of all images of a release has 20 KiB.
_MOST_LIST_BYTES = 1024**2


def wanted_checksum(text: str, name: str, stall_s: float) -> Checksum:
    """Return the checksum that the file of that name must have: the text itself, or from the list that it names.

    Raises SpecError, DeniedError, UnavailableError.
    """
    try:
        if is_checksum(text):
            return parse_checksum(text)
        return find_checksum(_list(text, stall_s).decode(errors="replace"), name)
    except ValueError as error:
        raise SpecError(str(error) if is_checksum(text) else f"{without_query(text)}: {error}") from None


def read_chunk(file: OpenFile, at: int) -> bytes:
    """Return the next bytes. Raises UnavailableError where a server that is gone does not give them, SpecError."""
    try:
        return call_within(ANSWERS_WITHIN_S, file.path, lambda: file.image.read_at(at, _CHUNK_BYTES))
    except OSError as error:
        raise unreadable(file.path, error) from None


def _list(where: str, stall_s: float) -> bytes:
    if is_url(where):
        from virtrbd.images.http import read_small

        return read_small(where, _MOST_LIST_BYTES, stall_s)
    with open_file(where) as file:
        if file.length > _MOST_LIST_BYTES:
            raise SpecError(f"{where}: is not a list of checksums: it has {file.length} bytes; name another file")
        # Shorter than a chunk.
        return read_chunk(file, 0)


def require_checksum(file: OpenFile, wanted: Checksum, progress: Callable[[int, int], None]) -> OpenFile:
    """Return the file as verified. Raises SpecError where it has another digest."""
    found = digest_of_file(file, wanted.algorithm, progress)
    if found != wanted:
        raise SpecError(f"{file.path}: is not the expected file: it has {found}, not {wanted}")
    return replace(file, checksum=str(found))


def digest_of_file(file: OpenFile, algorithm: str, progress: Callable[[int, int], None]) -> Checksum:
    """Return the digest of the file."""
    digest, done = hashlib.new(algorithm), 0
    while chunk := read_chunk(file, done):
        obey_here()
        digest.update(chunk)
        done += len(chunk)
        progress(done, file.length)
    return Checksum(algorithm=algorithm, digest=digest.hexdigest())
