"""How a run is ended from outside: Ctrl-C, SIGTERM, a terminal that goes.

The main thread is told by an exception at once, other threads where they look (`obey`, `obey_here`). What must not be
cut off half-way runs in `finishing`: a signal that comes meanwhile is obeyed at its end. A second signal, a second or
more after the first, is a person who waits no longer: it ends that too, and the next run does the rest.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# systemd sends SIGTERM and SIGHUP in one breath, and a shell passes on what its terminal sent already.
_ONE_BREATH_S = 1.0
# A thread of its own looks so often whether the run is ended.
_LOOK_EVERY_S = 0.25
# importlib drops what a callback of its locks raises, and modules catch much while they load.
_LOADING = "<frozen importlib._bootstrap"
_ASK_AGAIN_S = 0.005


class EndedError(BaseException):
    """A signal ended the run: raised so that what was opened is closed, and what is half-made discarded."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _Here(threading.local):
    """How many `finishing` blocks this thread is in, and whether it was told."""

    depth = 0
    is_told = False


_here = _Here()
_came: list[tuple[int, float]] = []
_done: list[str] = []


def heed_signals() -> None:
    """Let the signals end this process from now on as this module says; those that it was started to ignore do not."""
    signal.signal(signal.SIGALRM, _ask_again)
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _note)


def ignore_signals() -> None:
    """Heed them no more: the work is done, and its answer is out."""
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
    """Return the signal that ends the run, 0 where none came."""
    return _came[0][0] if _came else 0


def did(text: str) -> None:
    """Keep what was done: a run that is ended before its answer says that."""
    _done.append(text)


def what_was_done() -> tuple[str, ...]:
    """Return what was done before the run was ended, in order."""
    return tuple(dict.fromkeys(_done))


def obey() -> None:
    """Raise EndedError where a signal came: asked before each step that changes something, never while cleaning up."""
    if _came and not _here.depth:
        _raise()


def obey_here() -> None:
    """Raise EndedError in a thread that no signal reaches, once: what it does to clean up is not ended again."""
    if threading.current_thread() is not threading.main_thread() and not _here.is_told:
        obey()


def wait(event: threading.Event, timeout_s: float) -> bool:
    """Wait as the event does; a thread that no signal reaches looks meanwhile whether the run is ended."""
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
    """Bring what is done in the block to its end before a signal is obeyed. Raises EndedError afterwards."""
    _here.depth += 1
    try:
        yield
    finally:
        _here.depth -= 1
    if not _here.is_told:
        obey()


def ask_again() -> None:
    """Let the main thread be told again, in a moment: what told it was lost where nothing can be raised."""
    if threading.current_thread() is threading.main_thread():
        _here.is_told = False
        signal.setitimer(signal.ITIMER_REAL, _ASK_AGAIN_S)


def _note(number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    is_impatient = bool(_came) and now - _came[0][1] > _ONE_BREATH_S
    _came.append((number, now))
    if is_impatient:
        raise EndedError(asked())
    _tell(frame)


def _ask_again(_number: int, frame: FrameType | None) -> None:
    if _came:
        _tell(frame)


def _tell(frame: FrameType | None) -> None:
    """Raise EndedError in the main thread, once, and not while a module loads."""
    if _here.is_told:
        return
    while frame:
        if frame.f_code.co_filename.startswith(_LOADING):
            signal.setitimer(signal.ITIMER_REAL, _ASK_AGAIN_S)
            return
        frame = frame.f_back
    obey()


def _raise() -> None:
    _here.is_told = True
    raise EndedError(asked())
