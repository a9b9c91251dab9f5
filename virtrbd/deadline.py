"""Deadlines for calls: a C call can be abandoned, never cancelled.

librados and libvirt release the GIL but answer no signal until they return, and some never do (an OSD that is
paused, a QEMU that is stopped). So each call runs in a thread; when its time is up the run goes on without it,
reports, and leaves by os._exit: the interpreter's own exit would wait for the abandoned calls.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn, Protocol, TypeVar

from virtrbd import ending
from virtrbd.ending import EndedError
from virtrbd.errors import ExitCode, UnavailableError

T = TypeVar("T")

# The start of this process, on the monotonic clock: the command line imports this module first.
PROCESS_BEGAN = time.monotonic()

# The last words of a process must not delay its end: a file may be on a server that is gone.
_LAST_WORDS_S = 10.0
# How long a call may still take once a signal ends the run.
_GRACE_S = 1.0


class Follower(Protocol):
    """What follows the calls of all threads: a run. Each thread reports its own calls."""

    def begin(self, what: str) -> None:
        """Something is about to be changed."""

    def report_call(self, what: str, seconds: float, is_over: bool) -> None:
        """A call took so long, and ended, or was abandoned."""


class Process:
    """What the process has, whichever run and thread is at work: calls come from all rooms, as log messages do.

    `abandoned`: calls that still run. They may use whatever the process opened, and end only with it.
    """

    def __init__(self) -> None:
        self.followers: list[Follower] = []
        self.abandoned: list[str] = []


_process = Process()


@contextmanager
def followed_by(follower: Follower) -> Iterator[None]:
    """Report to it the calls that are made while the block runs."""
    _process.followers.append(follower)
    try:
        yield
    finally:
        _process.followers.remove(follower)


def begin(what: str) -> None:
    """Report that something is about to be changed: a run that ends early says whether anything was begun."""
    for follower in _process.followers:
        follower.begin(what)


def call_within(timeout_s: float, what: str, call: Callable[[], T], *, changes: bool = False) -> T:
    """Return what the call returns, raise what it raises; UnavailableError when it takes too long.

    `changes`: it changes something, so the outcome of an abandoned call is unknown.
    """

    def give_up() -> None:
        fate = "; whether it still takes effect is unknown" if changes else ""
        raise UnavailableError(f"{what}: no answer within {timeout_s:g} s{fate}")

    if changes:
        begin(what)

    return call_watched(timeout_s, what, call, give_up, grace_s=min(_GRACE_S, timeout_s))


def call_watched(
    every_s: float, what: str, call: Callable[[], T], watch: Callable[[], None], *, grace_s: float = 0
) -> T:
    """Return what the call returns, raise what it raises; `watch` is called now and then, and may raise to give up.

    When a signal ends the run, the call may take `grace_s` longer.
    """
    results: list[T] = []
    errors: list[BaseException] = []
    ended = threading.Event()

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:  # passed on to the caller's thread
            errors.append(error)
        finally:
            ended.set()

    thread = threading.Thread(target=run, daemon=True, name=what)
    began_at = time.monotonic()
    try:
        # Inside: a signal that comes while the thread starts finds a call that runs, and a thread not yet "alive".
        thread.start()
        while not ending.wait(ended, every_s):
            watch()
    except (EndedError, KeyboardInterrupt):
        # Most calls end in a moment; to abandon a call that changes something would be like a kill.
        ended.wait(grace_s)
        raise
    finally:
        # Ctrl-C and SIGTERM end the wait, not the call.
        is_over = ended.is_set()
        if not is_over:
            abandon(what)
        for follower in _process.followers:
            follower.report_call(what, time.monotonic() - began_at, is_over)
    if errors:
        raise errors[0]
    return results[0]


def abandon(what: str) -> None:
    """Abandon the calls of other threads: the process no longer waits for them."""
    _process.abandoned.append(what)


def is_abandoned() -> bool:
    """Whether a call was abandoned, and may still use what this process opened."""
    return bool(_process.abandoned)


@contextmanager
def ended_at(at: float, last_words: Callable[[], None]) -> Iterator[None]:
    """Leave the process with UNAVAILABLE when the block still runs at that time (monotonic); `last_words` come first.

    The block may wait for something that never answers, so another thread looks at the clock, and does not wait for
    a cleanup: locks end with the process.
    """
    claim, ended = threading.Lock(), threading.Event()

    def watch() -> None:
        if ended.wait(max(0.0, at - time.monotonic())):
            return
        with claim:
            if ended.is_set():
                return
            with suppress(Exception):
                call_within(_LAST_WORDS_S, "last words", last_words)
            leave(ExitCode.UNAVAILABLE)

    thread = threading.Thread(target=watch, daemon=True, name="the run's deadline")
    thread.start()
    try:
        yield
    finally:
        # The one who gets it decides: the block that ended, or the end of the process.
        with claim:
            ended.set()


def leave(code: int) -> NoReturn:
    """End the process with the code, at once: without waiting for abandoned calls or Python's own exit."""
    for stream in (sys.stdout, sys.stderr):
        # There is none where the caller closed it.
        if stream:
            # A failed write was reported when it was printed; the code is that error's already.
            with suppress(OSError):
                stream.flush()
    os._exit(code)
