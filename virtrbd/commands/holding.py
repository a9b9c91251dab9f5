"""The verbs that keep hands off: hold, release, ignore."""

import time
from datetime import datetime
from typing import TYPE_CHECKING

import click

from virtrbd.commands.app import Run, app, with_global_options
from virtrbd.errors import UsageError
from virtrbd.model.duration import parse_duration
from virtrbd.model.names import check_plain
from virtrbd.printable import cut, quoted

if TYPE_CHECKING:
    from virtrbd.model.domain import DefinedDomain, DomainMark

NAME = click.argument("name", metavar="DOMAIN")


@app.command()
@NAME
@click.option("--until", metavar="TIME", default="", help="When it ends: a span like 2h, or 2027-01-31T06:00.")
@click.option("--why", metavar="TEXT", default="", help="For whoever wonders.")
@with_global_options
def hold(run: Run, name: str, until: str, why: str) -> None:
    """Keep reconcile, apply, define and start off a domain.

    The hold ends with release, or at the time that --until names.
    """
    from dataclasses import replace

    from virtrbd.commands.power import require_domain
    from virtrbd.hypervisor.connection import Hypervisor
    from virtrbd.model.domain import Hold

    ends_at = parse_until(until, time.time()) if until else None
    require_plain("--why", why)
    with Hypervisor.connect(run.settings()) as hypervisor:
        domain = require_domain(hypervisor, name)
        hypervisor.set_mark(domain.uuid, lambda mark: replace(mark, hold=Hold(until=ends_at, why=why)))
    text = f" until {datetime.fromtimestamp(ends_at).astimezone():%Y-%m-%d %H:%M %Z}" if ends_at else ""
    run.answer({"name": name, "until": ends_at, "why": why}, [f"{name}: held{text}"])


@app.command()
@NAME
@with_global_options
def release(run: Run, name: str) -> None:
    """End a hold."""
    from dataclasses import replace

    from virtrbd.commands.power import require_domain
    from virtrbd.domainxml.mark import read_mark
    from virtrbd.hypervisor.connection import Hypervisor

    with Hypervisor.connect(run.settings()) as hypervisor:
        domain = require_domain(hypervisor, name)
        mark = read_mark(domain.definition)
        changed = bool(mark and mark.hold)
        if changed:
            hypervisor.set_mark(domain.uuid, lambda mark: replace(mark, hold=None))
    run.answer_change({"name": name}, [f"{name}: {'released' if changed else 'is not held'}"], changed=changed)


@app.command()
@NAME
@click.argument("path", default="")
@click.option("--undo", is_flag=True, help="Look after the path again.")
@with_global_options
def ignore(run: Run, name: str, path: str, undo: bool) -> None:
    """Leave one PATH of a domain to virsh; without one, list them.

    A PATH is written as plan shows it, like /devices/disk:vda/driver/@cache.
    """
    from virtrbd.commands.power import require_domain
    from virtrbd.domainxml.mark import read_mark
    from virtrbd.hypervisor.connection import Hypervisor

    require_plain("PATH", path)
    bare = path.strip("/") or ("/" if path else "")
    with Hypervisor.connect(run.settings()) as hypervisor:
        domain = require_domain(hypervisor, name)
        if path:
            if not undo and not _is_known(domain, bare):
                _require_possible(bare)
                # Said, not refused: the spec may be about to state it. A slip would silence nothing unnoticed.
                run.say(f"{name}: nothing here has /{bare} so far; plan shows the paths there are")
            hypervisor.set_mark(domain.uuid, lambda mark: _with_ignored(mark, bare, undo=undo))
            domain = require_domain(hypervisor, name)
        mark = read_mark(domain.definition)
    ignored = mark.ignored if mark else ()
    lines = [f"{name}: ignores /{cut(each.strip('/'))}" for each in ignored] or [f"{name}: ignores nothing"]
    run.answer({"name": name, "ignored": list(ignored)}, lines)


def _is_known(domain: "DefinedDomain", bare: str) -> bool:
    """Whether the definition, the guest or what the spec stated so far has the path."""
    from virtrbd.domainxml.ignoring import has_path
    from virtrbd.domainxml.mark import read_mark

    mark = read_mark(domain.definition)
    known = {*(mark.stated if mark else ()), *(change.path.strip("/") for change in (mark.foreign if mark else ()))}
    is_stated = any(path == bare or path.startswith(f"{bare}/") for path in known)
    documents = [text for text in (domain.definition, domain.live) if text]
    return bare in ("/", "autostart") or is_stated or any(has_path(text, bare) for text in documents)


def _require_possible(bare: str) -> None:
    """Raise UsageError for a path that no definition could have, by libvirt's own schema."""
    from virtrbd.domainxml.schema_paths import can_exist

    if not can_exist(bare):
        example = "/devices/disk:vda/driver/@cache"
        raise UsageError(f"PATH: no definition can have /{cut(bare)}; write one as plan shows it, like {example}")


def _with_ignored(mark: "DomainMark", bare: str, *, undo: bool) -> "DomainMark":
    from dataclasses import replace

    paths = {each for each in mark.ignored if each != bare} | (set() if undo else {bare})
    foreign = tuple(change for change in mark.foreign if change.path.strip("/") != bare.strip("/"))
    # Without its inputs' digest the definition is held against the spec anew.
    return replace(mark, ignored=tuple(sorted(paths - {"/"})), foreign=foreign, inputs="")


def parse_until(text: str, now: float) -> float:
    """Return the time, in seconds since 1970, that a span from now or a date means. Raises UsageError."""
    try:
        ends_at = now + parse_duration(text)
    except (ValueError, OverflowError):
        ends_at = _parse_date(text)
    if ends_at <= now:
        raise UsageError(f"--until: {text} is over already")
    return ends_at


def _parse_date(text: str) -> float:
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except (ValueError, OverflowError):
        raise UsageError(f"--until: {quoted(text)} is no time; write a span like 2h, or 2027-01-31T06:00") from None


def require_plain(what: str, text: str) -> None:
    """Raise UsageError for what no XML can hold, or no line of output."""
    try:
        check_plain(text)
    except ValueError as error:
        raise UsageError(f"{what}: {error}") from None
