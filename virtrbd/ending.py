"""The end of a run by a signal: Ctrl-C, SIGTERM, a terminal that closes.

The main thread gets an exception at once, other threads where they look (`obey`, `obey_here`). Work that must not be
cut off half-way runs in `finishing`: a signal that comes meanwhile is obeyed at its end. A second signal, a second or
more after the first, comes from an operator who no longer waits: it ends that work too, and the next run finishes it.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# systemd sends SIGTERM and SIGHUP at once, and a shell passes on what its terminal sent already.
_ONE_BREATH_S = 1.0
# How often a thread looks whether the run is ended.
_LOOK_EVERY_S = 0.25
# importlib drops what a callback of its locks raises, and modules catch much while they load.
_LOADING = "<frozen importlib._bootstrap"
_ASK_AGAIN_S = 0.005


class EndedError(BaseException):
    """A signal ended the run: raised to close what was opened, and discard what is half-made."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _Here(threading.local):
    """How many `finishing` blocks this thread is in, and whether it got the exception."""

    depth = 0
    is_reported = False


# Signals come to the process, whichever run and thread is at work: its handler and all threads find here what came,
# and when.
_came: list[tuple[int, float]] = []
_here = _Here()


def heed_signals() -> None:
    """Let the signals end this process from now on as this module says, except signals that the caller ignored."""
    signal.signal(signal.SIGALRM, _ask_again)
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _note)


def ignore_signals() -> None:
    """Ignore them from now on: the work is done, and its answer was written."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def asking(number: int) -> Iterator[None]:
    """End the work of all other threads, while the block runs, as the signal of that number does."""
    came = (number, time.monotonic())
    _came.append(came)
    try:
        yield
    finally:
        _came.remove(came)


def asked() -> int:
    """Return the signal that ends the run, 0 without one."""
    return _came[0][0] if _came else 0


def obey() -> None:
    """Raise EndedError where a signal came: called before each step that changes something, never while cleaning up."""
    if _came and not _here.depth:
        _raise()


def obey_here() -> None:
    """Raise EndedError in a thread that no signal reaches, once: its cleanup is not ended again."""
    if threading.current_thread() is not threading.main_thread() and not _here.is_reported:
        obey()


def wait(event: threading.Event, timeout_s: float) -> bool:
    """Wait for the event; a thread that no signal reaches looks meanwhile whether the run is ended."""
    if threading.current_thread() is threading.main_thread():
        return event.wait(timeout_s)
    give_up_at = time.monotonic() + timeout_s
    while not event.wait(max(0.0, min(_LOOK_EVERY_S, give_up_at - time.monotonic()))):
        obey_here()
        if time.monotonic() >= give_up_at:
            return False
    return True


@contextmanager
def finishing() -> Iterator[None]:
    """Finish the block before a signal is obeyed. Raises EndedError afterwards."""
    _here.depth += 1
    try:
        yield
    finally:
        _here.depth -= 1
    if not _here.is_reported:
        obey()


def ask_again() -> None:
    """Interrupt the main thread again, in a moment: the first exception was lost where nothing can be raised."""
    if threading.current_thread() is threading.main_thread():
        _here.is_reported = False
        signal.setitimer(signal.ITIMER_REAL, _ASK_AGAIN_S)


def _note(number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    is_impatient = bool(_came) and now - _came[0][1] > _ONE_BREATH_S
    _came.append((number, now))
    if is_impatient:
        raise EndedError(asked())
    _report(frame)


def _ask_again(_number: int, frame: FrameType | None) -> None:
    if _came:
        _report(frame)


def _report(frame: FrameType | None) -> None:
    """Raise EndedError in the main thread, once, and not while a module loads."""
    if _here.is_reported:
        return
    while frame:
        if frame.f_code.co_filename.startswith(_LOADING):
            signal.setitimer(signal.ITIMER_REAL, _ASK_AGAIN_S)
            return
        frame = frame.f_back
    obey()


def _raise() -> None:
    _here.is_reported = True
    raise EndedError(asked())
