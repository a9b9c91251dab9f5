"""Fetch files from web servers into the cache: resumed, verified, and named there only when whole."""

import json
import os
import re
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress

from msgspec import Struct

from virtrbd import ending
from virtrbd.errors import SpecError, UnavailableError
from virtrbd.images.http import Answer, BrokenOffError, RangeError, asked
from virtrbd.images.into_cache import IntoCache
from virtrbd.images.source_file import OpenFile
from virtrbd.images.verify import digest_of_file, wanted_checksum
from virtrbd.local.image_cache import ImageCache
from virtrbd.local.write_whole import write_whole_in
from virtrbd.model.checksum import Checksum
from virtrbd.model.digest import digest_of
from virtrbd.model.import_file import ImportFile, last_part, require_fetchable, without_query
from virtrbd.model.size import format_size
from virtrbd.printable import cut

_LOOK_AGAIN_AFTER_S = 0.5
# A try without new data is the last.
_MOST_TRIES = 20
_MOST_VALIDATOR = 1000
_CONTENT_RANGE = re.compile(r"bytes (?P<first>[0-9]{1,19})-[0-9]{1,19}/(?P<total>[0-9]{1,19}|\*)")


class _Fetch(Struct, frozen=True, kw_only=True):
    """The file behind a URL: the entry of the cache that it becomes, and its checksum where that is known."""

    url: str
    key: str
    checksum: Checksum | None
    into: IntoCache

    @property
    def name(self) -> str:
        """The URL for messages."""
        return without_query(self.url)

    @property
    def cache(self) -> ImageCache:
        return self.into.cache

    def forget_part(self) -> None:
        """Remove what the cache has of the file, and of where that came from."""
        self.cache.remove(f"{self.key}.part")
        self.cache.remove(f"{self.key}.from")


def fetch(stack: ExitStack, wanted: ImportFile, into: IntoCache, say: Callable[[str], None]) -> OpenFile:
    """Return the file behind a URL, which `stack` closes: from the cache, where that has the file of its checksum.

    Raises SpecError, DeniedError, UnavailableError, VirtrbdError, and what `into.progress` raises.
    """
    try:
        require_fetchable(wanted.name, wanted.checksum)
    except ValueError as error:
        raise SpecError(str(error)) from None
    url = wanted.name
    checksum = wanted_checksum(wanted.checksum, last_part(url), into.stall_s) if wanted.checksum else None
    key = digest_of("fetched", str(checksum)) if checksum else digest_of("fetched from", url)
    work = _Fetch(url=url, key=key, checksum=checksum, into=into)
    if file := _from_cache(stack, work):
        return file
    is_waiting = False

    def wait() -> None:
        nonlocal is_waiting
        if not is_waiting:
            say(f"{work.name}: another run fetches it; waiting")
        is_waiting = True
        # Gives up at this run's deadline: how long the other run takes is unknown.
        into.progress(0, 0)
        # Not sleep: in a thread that no signal reaches, this checks whether the run is ended.
        ending.wait(threading.Event(), _LOOK_AGAIN_AFTER_S)

    with work.cache.part(key, wait) as part:
        # Another run may have fetched it meanwhile.
        if file := _from_cache(stack, work):
            work.cache.remove(f"{key}.part")
            return file
        found = _whole(part, work)
        if not checksum:
            say(f"{work.name}: fetched, {found}; without a checksum nothing proves that its publisher made it")
        work.cache.name_part(part, key)
        work.cache.remove(f"{key}.from")
        if not checksum:
            # The URL may have another file tomorrow.
            work.cache.remove(key)
        return _opened(stack, os.open(f"/proc/self/fd/{part}", os.O_RDONLY | os.O_CLOEXEC), work, found)


def _from_cache(stack: ExitStack, work: _Fetch) -> OpenFile | None:
    """Return the entry of the file's checksum where its digest still matches; else remove it."""
    checksum = work.checksum
    descriptor = work.cache.find(work.key) if checksum else None
    if checksum is None or descriptor is None:
        return None
    file = _opened(stack, descriptor, work, checksum)
    if digest_of_file(file, checksum.algorithm, work.into.progress) == checksum:
        return file
    work.cache.remove(work.key)
    return None


def _opened(stack: ExitStack, descriptor: int, work: _Fetch, found: Checksum) -> OpenFile:
    stack.callback(os.close, descriptor)
    stat = os.fstat(descriptor)
    return OpenFile(
        path=work.name, descriptor=descriptor, stat=stat, length=stat.st_size, is_own=True,
        identity=str(found), content_key=str(found), checksum=str(found),
    )  # fmt: skip


def _whole(part: int, work: _Fetch) -> Checksum:
    """Fetch the whole file, beginning where an earlier run was interrupted; return its digest. Raises VirtrbdError."""
    had, checksum = os.fstat(part).st_size, work.checksum
    if not checksum:
        os.truncate(part, 0)
    _fetch_rest(part, work)
    with ExitStack() as stack:
        algorithm = checksum.algorithm if checksum else "sha256"
        file = _opened(stack, os.dup(part), work, Checksum(algorithm=algorithm, digest=""))
        found = digest_of_file(file, algorithm, work.into.progress)
        if checksum and found != checksum and had:
            # The earlier run's part may be of another file, or may not have reached the disk.
            os.truncate(part, 0)
            _fetch_rest(part, work)
            file = _opened(stack, os.dup(part), work, checksum)
            found = digest_of_file(file, algorithm, work.into.progress)
    if checksum and found != checksum:
        work.forget_part()
        raise SpecError(f"{work.name}: is not the expected file: it has {found}, not {checksum}")
    return found


def _fetch_rest(part: int, work: _Fetch) -> None:
    """Write what is missing of the file; resumes after interruptions as long as data arrives."""
    # A checksum will show whether what came in parts is one file.
    is_verified = work.checksum is not None
    most, has_begun_again = os.fstat(part).st_size, False
    for _ in range(_MOST_TRIES):
        noted, had = _noted(work), os.fstat(part).st_size
        if had and not is_verified and not noted.is_strong:
            os.truncate(part, 0)
            had = 0
        # Gives up where there is no time for another try.
        work.into.progress(had, 0)
        try:
            with asked(work.url, _range(noted, had), work.into.stall_s) as answer:
                _write(part, work, answer)
            return
        except (RangeError, _ChangedError) as error:
            # The part is as long as the file: there is no rest.
            if isinstance(error, RangeError) and had and had == noted.total:
                return
            if not had or has_begun_again:
                raise
            os.truncate(part, 0)
            most, has_begun_again = 0, True
        except UnavailableError as error:
            has = os.fstat(part).st_size
            if has <= most or not isinstance(error, BrokenOffError):
                kept = f"; {format_size(has)} of it are in the cache, and the next run goes on from there"
                raise UnavailableError(f"{error.as_line}{kept if has and is_verified else ''}") from None
            most = has
    raise UnavailableError(f"{work.name}: broke off {_MOST_TRIES} times; run again to go on")


class _ChangedError(UnavailableError):
    """The server's file is not the file of which the cache has a part."""


class _Noted(Struct, frozen=True, kw_only=True):
    """The server's data about the file of which the cache has a part: its validator and its length, 0 if unknown."""

    validator: str = ""
    total: int = 0

    @property
    def is_strong(self) -> bool:
        """Whether it is unique: two files may have the same date within a second (RFC 9110, 8.8.2.2)."""
        return self.validator.startswith('"')


def _range(noted: _Noted, had: int) -> dict[str, str]:
    """Return the headers that request the rest of the file, only where it is unchanged."""
    if not had:
        return {}
    return {"Range": f"bytes={had}-", **({"If-Range": noted.validator} if noted.validator else {})}


def _noted(work: _Fetch) -> _Noted:
    with suppress(OSError, ValueError, TypeError, KeyError):
        descriptor = os.open(f"{work.key}.from", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=work.cache.folder)
        with open(descriptor, "rb") as stream:
            found = json.loads(stream.read(4 * _MOST_VALIDATOR))
        return _Noted(validator=str(found["validator"]), total=int(found["total"]))
    return _Noted()


def _write(part: int, work: _Fetch, answer: Answer) -> None:
    """Write the answer's body. Raises BrokenOffError where it ends before the file, _ChangedError."""
    name, cache = work.name, work.cache
    if answer.status == 206:
        at, total = _rest_of(answer, os.fstat(part).st_size, _noted(work), name)
    else:
        at, total = 0, answer.length or 0
        os.truncate(part, 0)
        note = json.dumps({"validator": _validator(answer), "total": total}).encode()
        write_whole_in(cache.folder, f"{work.key}.from", note, 0o600, synced=False)
    if total > at:
        cache.require_room(at, total - at, name)
    done = at
    for piece in answer.pieces():
        cache.require_room(done, len(piece), name)
        cache.write_all(part, piece, done)
        done += len(piece)
        work.into.progress(done, total)
    if total and done != total:
        raise BrokenOffError(f"{name}: broke off after {done} of {total} bytes")


def _validator(answer: Answer) -> str:
    """Return the server's validator of the file, "" where it has none that can be sent back."""
    validator = answer.headers.get("etag", "")
    # A weak validator is equal for files that are only equivalent (RFC 9110, 13.1.5).
    if validator.startswith("W/"):
        validator = ""
    validator = validator or answer.headers.get("last-modified", "")
    return validator if validator.isprintable() and len(validator) < _MOST_VALIDATOR else ""


def _rest_of(answer: Answer, had: int, noted: _Noted, name: str) -> tuple[int, int]:
    """Return where in the file the answer begins, and the length of the file, 0 where unknown.

    Raises UnavailableError for another part than requested, _ChangedError for the rest of another file.
    """
    said = answer.headers.get("content-range", "")
    match = _CONTENT_RANGE.fullmatch(said)
    if not had or not match or int(match["first"]) != had:
        asked_for = f"another part than from byte {had} on ({cut(said) or 'none'})"
        raise UnavailableError(f"{name}: the server sent {asked_for}; name another server")
    total = 0 if match["total"] == "*" else int(match["total"])
    # Not every server respects If-Range.
    is_other = noted.is_strong and answer.headers.get("etag", noted.validator) != noted.validator
    if is_other or (total and noted.total and total != noted.total):
        raise _ChangedError(f"{name}: changes while it is fetched; run again later")
    return had, total or noted.total
