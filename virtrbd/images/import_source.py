"""What an image is imported from, made ready: fetched, verified, unpacked, found in its archive, and judged.

What is inside of another file is judged as strictly as that one: nothing is believed for where it comes from.
"""

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from virtrbd.deadline import call_within
from virtrbd.errors import UnavailableError, VirtrbdError
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

# An OVA in a .gz whose disk is packed once more is all that people make.
_MOST_WRAPPINGS = 3

T = TypeVar("T")
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportWork:
    """What getting a source ready needs: the settings, whom to tell how far it is, and until when it may take."""

    settings: Settings
    say: Callable[[str], None] = lambda _text: None
    progress: Progress = lambda _done, _total: None
    # On the monotonic clock. A person who waits can end it; a run from cron has other domains.
    give_up_at: float = math.inf

    def require_time(self, wanted: ImportFile) -> None:
        """Raise UnavailableError where the time is over: the same text in each run, for it is told once."""
        if time.monotonic() >= self.give_up_at:
            raise UnavailableError(
                f"{wanted}: not ready in its part of the {self.settings.timeouts.reconcile:g} s of a run; virtrbd plan "
                f"by hand waits until it is, and the cache keeps it for the next run; or raise timeouts: reconcile"
            )

    def timed_progress(self, wanted: ImportFile) -> Progress:
        """Return what tells how far it is, and gives up where the time is over."""

        def told(done: int, total: int) -> None:
            self.require_time(wanted)
            self.progress(done, total)

        return told


@contextmanager
def open_import(wanted: ImportFile, work: ImportWork) -> Iterator[Source]:
    """Open what an image is to be imported from, and look what it is.

    Raises SpecError, OutsideError, DeniedError, UnavailableError, ConfigError, and VirtrbdError for what is no disk.
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
    cache = stack.enter_context(opened_cache(work.settings.imports))
    return fetch(stack, wanted, cache, work.settings.timeouts.transfer, work.say, work.timed_progress(wanted))


def _judged(stack: ExitStack, file: OpenFile, wanted: ImportFile, work: ImportWork) -> Source:
    """Return what is in the innermost of the files that are in each other."""
    # What is said to be raw is taken as it is; what a guest wrote to its device may look like anything.
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
        raise VirtrbdError(f"{file.path}: is no archive that could hold {wanted.member}; leave the member out")
    file_format = wanted.format or ("raw" if file.is_block_device else "")
    return Source(file=file, look=_answer(file, partial(look, file.image, file_format)))


def _answer(file: OpenFile, call: Callable[[], T]) -> T:
    """Return what a look at the file's bytes returns: a server that is gone never gives them."""
    try:
        return call_within(ANSWERS_WITHIN_S, file.path, call)
    except OSError as error:
        raise unreadable(file.path, error) from None


def _member(file: OpenFile, wanted: str) -> OpenFile:
    member = _answer(file, partial(find_disk, file.image, wanted))
    return file.part(member.name, member.at, member.length)


def _unpacked(stack: ExitStack, file: OpenFile, program: str, wanted: ImportFile, work: ImportWork) -> OpenFile:
    cache = stack.enter_context(opened_cache(work.settings.imports))
    return unpack(stack, file, program, cache, work.settings.timeouts.transfer, work.timed_progress(wanted))
