"""The verb `list`: the domains of this host, a row each: what each is, or why it cannot be read."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.errors import VirtrbdError, worst
from virtrbd.lazily import lazily

with lazily():
    from virtrbd.commands.output.failures import failure_data, show_trace
    from virtrbd.commands.output.printing import print_lines
    from virtrbd.commands.output.table import table
    from virtrbd.contained import contained
    from virtrbd.domainxml.defined import DefinedDomain, HostDomains, UnreadDomain
    from virtrbd.hypervisor.connection import Hypervisor
    from virtrbd.model.failure import Failure, failure_of
    from virtrbd.model.size import format_size


_TITLES = ("name", "state", "memory", "vcpus", "disks", "autostart", "virtrbd's", "held")


@verb
def list_domains(run: Run) -> None:
    """List the domains of this host."""
    with Hypervisor.connect(run.settings()) as hypervisor:
        domains = hypervisor.domains()
    rows = listed(domains, time.time())
    run.answer({"domains": [list_data(row) for row in rows]}, list_lines(rows))
    failed = {row.name: row.failure for row in rows if row.failure}
    for name, failure in failed.items():
        if not run.is_json:
            print_lines([f"{name}: cannot be read: {failure.text}"], to_stderr=True)
        show_trace(run, name, failure.trace)
    run.end(worst(*(failure.exit_code for failure in failed.values())))


class Row(Struct, frozen=True, kw_only=True):
    """A domain as it is listed; with a `failure`, all but the first three are unknown."""

    name: str
    uuid: str
    state: str
    failure: Failure | None = None
    memory_bytes: int | None = None
    vcpus: int | None = None
    disks: tuple[str, ...] = ()
    autostart: bool | None = None
    owned: bool | None = None
    held: bool | None = None


def listed(domains: HostDomains, now: float) -> tuple[Row, ...]:
    """Return a row for each domain, by name."""
    rows = [*(_row(domain, now) for domain in domains.read), *map(_unread, domains.unread)]
    return tuple(sorted(rows, key=lambda row: row.name))


def _row(domain: DefinedDomain, now: float) -> Row:
    try:
        with contained(f"listing domain {domain.name}"):
            definition = domain.definition.passing()
            mark = definition.mark
            return Row(
                name=domain.name,
                uuid=domain.uuid,
                state=domain.state.value,
                memory_bytes=definition.memory_bytes,
                vcpus=definition.vcpus,
                disks=tuple(str(disk.image or "-") for disk in definition.disks),
                autostart=domain.autostart,
                owned=mark is not None,
                held=bool(mark and mark.hold and mark.hold.holds_at(now)),
            )
    except VirtrbdError as error:
        state, failure = domain.state, failure_of(error)
        return _unread(UnreadDomain(name=domain.name, uuid=domain.uuid, state=state, failure=failure))


def _unread(domain: UnreadDomain) -> Row:
    return Row(name=domain.name, uuid=domain.uuid, state=domain.state.value, failure=domain.failure)


def list_data(row: Row) -> dict[str, Any]:
    """Return a row for programs; what is unknown is null."""
    return {
        "name": row.name,
        "state": row.state,
        "memory_bytes": row.memory_bytes,
        "vcpus": row.vcpus,
        "disks": None if row.failure else list(row.disks),
        "autostart": row.autostart,
        "owned": row.owned,
        "held": row.held,
        "uuid": row.uuid,
        "failure": failure_data(row.failure) if row.failure else None,
    }


def list_lines(rows: Sequence[Row]) -> list[str]:
    """Return the table."""
    if not rows:
        return ["no domains"]
    return table(_TITLES, [_cells(row) for row in rows])


def _cells(row: Row) -> tuple[str, ...]:
    if row.failure:
        return (row.name, row.state, *("?" for _ in _TITLES[2:]))
    words = ("yes" if value else "no" for value in (row.autostart, row.owned, row.held))
    return (row.name, row.state, format_size(row.memory_bytes or 0), str(row.vcpus), str(len(row.disks)), *words)
