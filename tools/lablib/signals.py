"""What ends a run of tools/lab: Ctrl-C, a SIGTERM, a terminal that goes."""

from __future__ import annotations

import signal
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class EndedError(BaseException):
    """A signal that ends the run, raised so that what was begun is taken down."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)


def raise_endings() -> None:
    """Let the ending signals raise EndedError. SIGHUP stays ignored where it is: nohup asks for that."""
    for number in _ENDING:
        # A shell without job control has SIGINT ignored in what it starts in the background; `kill -INT` means it.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def ignore_endings() -> None:
    """Let no further signal end the run: half taken down is worse than a few seconds more."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)


def _end(number: int, _frame: FrameType | None) -> None:
    # Once: a second signal would end the taking down.
    ignore_endings()
    raise EndedError(number)
