"""Prepare the source of an import: fetched, verified, unpacked, found in its archive, and checked.

A file inside another file must pass the same checks.
"""

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TypeVar

from msgspec import Struct

from virtrbd.deadline import call_within
from virtrbd.errors import UnavailableError, VirtrbdError
from virtrbd.images.into_cache import IntoCache, Progress
from virtrbd.images.source_file import ANSWERS_WITHIN_S, OpenFile, Source, open_file, unreadable
from virtrbd.lazily import lazily
from virtrbd.model.import_file import ImportFile
from virtrbd.model.settings import Settings
from virtrbd.qemu.formats.look import look, wrapping_of

# Most files are here, in no archive and not packed; what talks HTTP takes as long to import as all the rest.
with lazily():
    from virtrbd.images.fetch import fetch
    from virtrbd.images.unpack import unpack
    from virtrbd.images.verify import require_checksum, wanted_checksum
    from virtrbd.local.image_cache import opened_cache
    from virtrbd.qemu.formats.archive import find_disk

# The deepest usual nesting is an OVA in a .gz whose disk is packed again.
_MOST_WRAPPINGS = 3

T = TypeVar("T")


class ImportWork(Struct, frozen=True, kw_only=True):
    """The context of preparing a source: the settings, the progress to report to, and the deadline."""

    settings: Settings
    say: Callable[[str], None] = lambda _text: None
    progress: Progress = lambda _done, _total: None
    # On the monotonic clock. An operator who waits can end it; a run from cron has other domains.
    give_up_at: float = math.inf

    def require_time(self, wanted: ImportFile) -> None:
        """Raise UnavailableError where the time is over: the same text in each run, because it is reported once."""
        if time.monotonic() >= self.give_up_at:
            raise UnavailableError(
                f"{wanted}: not ready in its part of the {self.settings.timeouts.reconcile:g} s of a run; virtrbd plan "
                f"by hand waits until it is, and the cache keeps it for the next run; or raise timeouts: reconcile"
            )

    def timed_progress(self, wanted: ImportFile) -> Progress:
        """Return the progress function, which gives up where the time is over."""

        def show(done: int, total: int) -> None:
            self.require_time(wanted)
            self.progress(done, total)

        return show


@contextmanager
def open_import(wanted: ImportFile, work: ImportWork) -> Iterator[Source]:
    """Open the source of an import, and recognise its format.

    Raises SpecError, OutsideError, DeniedError, UnavailableError, ConfigError; VirtrbdError for what is not a disk.
    """
    with ExitStack() as stack:
        file = _fetched(stack, wanted, work) if wanted.is_url else _opened(stack, wanted, work)
        yield _judged(stack, file, wanted, work)


def _opened(stack: ExitStack, wanted: ImportFile, work: ImportWork) -> OpenFile:
    file = stack.enter_context(open_file(wanted.name, beneath=wanted.beneath))
    if wanted.checksum:
        name = os.path.basename(wanted.name)
        checksum = wanted_checksum(wanted.checksum, name, work.settings.timeouts.transfer)
        return require_checksum(file, checksum, work.timed_progress(wanted))
    return file


def _fetched(stack: ExitStack, wanted: ImportFile, work: ImportWork) -> OpenFile:
    return fetch(stack, wanted, _into_cache(stack, wanted, work), work.say)


def _into_cache(stack: ExitStack, wanted: ImportFile, work: ImportWork) -> IntoCache:
    cache = stack.enter_context(opened_cache(work.settings.imports))
    return IntoCache(cache=cache, stall_s=work.settings.timeouts.transfer, progress=work.timed_progress(wanted))


def _judged(stack: ExitStack, file: OpenFile, wanted: ImportFile, work: ImportWork) -> Source:
    """Return the innermost of nested files."""
    # A file stated as raw is taken as it is; a guest may have written anything to its device.
    is_as_it_is = wanted.format == "raw" or file.is_block_device
    is_member_taken = False
    for _ in range(0 if is_as_it_is else _MOST_WRAPPINGS):
        program = _answer(file, partial(wrapping_of, file.image))
        if not program:
            break
        if program == "tar":
            file, is_member_taken = _member(file, "" if is_member_taken else wanted.member), True
        else:
            file = _unpacked(stack, file, program, wanted, work)
    if wanted.member and not is_member_taken:
        raise VirtrbdError(f"{file.path}: is not an archive that could hold {wanted.member}; leave out the member")
    file_format = wanted.format or ("raw" if file.is_block_device else "")
    return Source(file=file, look=_answer(file, partial(look, file.image, file_format)))


def _answer(file: OpenFile, call: Callable[[], T]) -> T:
    """Return what a look at the file's bytes returns, within a deadline: a server that is gone never answers."""
    try:
        return call_within(ANSWERS_WITHIN_S, file.path, call)
    except OSError as error:
        raise unreadable(file.path, error) from None


def _member(file: OpenFile, wanted: str) -> OpenFile:
    member = _answer(file, partial(find_disk, file.image, wanted))
    return file.part(member.name, member.at, member.length)


def _unpacked(stack: ExitStack, file: OpenFile, program: str, wanted: ImportFile, work: ImportWork) -> OpenFile:
    return unpack(stack, file, program, _into_cache(stack, wanted, work))
