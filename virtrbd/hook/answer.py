"""What libvirt's hook answers to a call of libvirt: 0, or a refusal with its reason on standard error."""

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from msgspec import Struct

from virtrbd.contained import contained
from virtrbd.domainxml.document import Document
from virtrbd.errors import ConfigError, DefectError, DeniedError, DocumentError, ExitCode, VirtrbdError
from virtrbd.hook.apart import Said, Say, Verdict, ask_apart
from virtrbd.hook.guest import Guest
from virtrbd.hook.log import log
from virtrbd.hook.program import CALLED, LOG, STARTS, is_uuid
from virtrbd.lazily import lazily
from virtrbd.local.starts import end_start, is_own_start, take_migration
from virtrbd.local.state_dir import StateDir
from virtrbd.model.image import LastRun
from virtrbd.model.mark import DomainMark
from virtrbd.model.settings import Settings, Unreachable
from virtrbd.printable import cut, printable
from virtrbd.specs.settings import load_settings

# librados and librbd are for the process apart; a start that virtrbd itself makes needs neither.
with lazily():
    from virtrbd.hook.checks import check_migration, check_restore, check_start, note_clean_end

# Reasons of an end (newer libvirts say one): no QEMU of this host uses the images any longer, and no save needs them.
_CLEAN_ENDS = ("shutdown", "destroyed")
_PASSES = Said(Verdict.PASSES)


class Call(Struct, frozen=True, kw_only=True):
    """A call of libvirt (its docs/hooks.rst) for a domain, and what the program adds: its settings file, empty for the
    system's, libvirt's UUID of the host, and the state directory as it was when the program was written."""

    settings: str
    host: str
    state_dir: str
    name: str
    operation: str
    reason: str
    xml: str


def answer(call: Call) -> int:
    """Return the exit status for libvirt, which gives up a start unless that is 0."""
    try:
        with contained("the hook"):
            said = _answer(call)
    except VirtrbdError as error:
        trace = f" ({', '.join(error.trace)})" if isinstance(error, DefectError) else ""
        said = Said(Verdict.REFUSED, f"{error.as_line}{trace}")
    if said.verdict is Verdict.PASSES:
        if said.text:
            _log(call, f"passed without a look: {said.text}")
        return 0
    _log(call, f"refused: {said.text}")
    sys.stderr.write(printable(f"virtrbd: {cut(call.name)}: {said.text}") + "\n")
    return ExitCode.FAILED


def _log(call: Call, text: str) -> None:
    log(os.path.join(call.state_dir, LOG), f"{cut(call.name)}: {call.operation}: {text}")


def _answer(call: Call) -> Said:
    document = Document(call.xml)
    try:
        mark = document.mark
    except DocumentError as error:
        return Said(Verdict.REFUSED, f"{error}, and it may be a domain of virtrbd's; correct it with virsh edit")
    if mark is None or not is_uuid(mark.uuid):
        return _PASSES
    try:
        with contained("reading the settings"):
            settings = load_settings(call.settings or None)
        starts = StateDir(settings.state_dir).folder(STARTS)
    except (ConfigError, DefectError, DeniedError) as error:
        # A host boots its guests in spite of a typo.
        return Said(Verdict.PASSES, f"the settings cannot be used: {error.as_line}")
    return _answer_for(call, _guest(call, document, mark, settings, starts))


def _guest(call: Call, document: Document, mark: DomainMark, settings: Settings, starts: Path) -> Guest:
    run = LastRun(
        host=call.host,
        host_name=settings.host,
        domain=call.name,
        generation=mark.generation,
        started_at=round(time.time(), 3),
    )
    return Guest(name=call.name, uuid=mark.uuid, document=document, run=run, settings=settings, starts=starts)


def _answer_for(call: Call, guest: Guest) -> Said:
    match call.operation:
        case "prepare":
            _note_called(guest)
            # An earlier start of it is over by now: what still keeps its images open for that one would be in the way.
            end_start(guest.starts, guest.uuid)
            # Both are asked: a migration that was kept is used up in any case.
            if take_migration(guest.starts, guest.uuid) | is_own_start(guest.starts, guest.uuid):
                return _PASSES
            return _asked(check_start, guest)
        case "restore":
            return _PASSES if is_own_start(guest.starts, guest.uuid) else _asked(check_restore, guest)
        case "migrate":
            return _asked(check_migration, guest)
        case "release":
            # The program itself does so where nothing else is to be done.
            end_start(guest.starts, guest.uuid)
            if call.reason in _CLEAN_ENDS:
                # libvirt waits in the guest's end. What is not recorded now, the next reconcile finds.
                ask_apart(
                    partial(note_clean_end, guest), min(guest.settings.timeouts.hook, guest.settings.timeouts.ceph)
                )
    return _PASSES


def _note_called(guest: Guest) -> None:
    """Record that libvirt calls the hook, for `virtrbd hook status`."""
    with suppress(OSError):
        (guest.starts / CALLED).touch()


def _asked(check: Callable[[Guest, Say], None], guest: Guest) -> Said:
    said = ask_apart(partial(check, guest), guest.settings.timeouts.hook)
    if said.verdict is not Verdict.UNREACHABLE:
        return said
    if guest.settings.hook.ceph_unreachable is Unreachable.ALLOW:
        return Said(Verdict.PASSES, said.text)
    return Said(Verdict.REFUSED, f"{said.text}; not started: another host may run it")
