"""A process apart, which answers this one and may outlive it: libvirt waits for all that have its pipes."""

import json
import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from typing import NoReturn

from msgspec import Struct

from virtrbd.errors import UnavailableError
from virtrbd.printable import printable

_MOST_TEXT = 4000


class Verdict(StrEnum):
    """What a process apart finds."""

    PASSES = "passes"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    WAITING = "waiting"


class Said(Struct, frozen=True):
    """A verdict, and why."""

    verdict: Verdict
    text: str = ""


Say = Callable[[Verdict, str], None]


def ask_apart(work: Callable[[Say], None], timeout_s: float) -> Said:
    """Run the work in a process apart, and return what it says first beside WAITING.

    A process that says nothing in time is ended; where it was waiting, that is what is returned.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _work_apart(work, writer)
    os.close(writer)
    said = Said(Verdict.REFUSED, "the process that looks at Ceph was ended before it answered")
    give_up_at, rest = time.monotonic() + timeout_s, b""
    while select.select([reader], [], [], max(0.0, give_up_at - time.monotonic()))[0]:
        received = os.read(reader, 65536)
        if not received:
            return said
        *lines, rest = (rest + received).split(b"\n")
        for line in lines:
            verdict, text = json.loads(line)
            said = Said(Verdict(verdict), text)
            if said.verdict is not Verdict.WAITING:
                return said
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if said.verdict is Verdict.WAITING:
        return Said(Verdict.REFUSED, f"{said.text}; not started: Ceph gave no further answer within {timeout_s:g} s")
    return Said(Verdict.UNREACHABLE, f"no answer within {timeout_s:g} s")


def _work_apart(work: Callable[[Say], None], writer: int) -> NoReturn:
    """Work without anything of libvirt's, and leave."""
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)

        def say(verdict: Verdict, text: str) -> None:
            os.write(writer, json.dumps([verdict, printable(text, _MOST_TEXT)]).encode() + b"\n")

        # The other process was killed, and libvirt knows of no answer: nothing is to be done for this start.
        with suppress(BrokenPipeError):
            try:
                work(say)
            except UnavailableError as error:
                # Ceph's bindings are loaded by the work, and may be gone.
                say(Verdict.UNREACHABLE, error.as_line)
    finally:
        # Not by Python's own way: that waits for calls into Ceph which never return.
        os._exit(0)
