"""The verb `ignore`: paths of a domain that are left to virsh."""

from __future__ import annotations

import click

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.domains import DOMAIN, require_plain_text
from virtrbd.errors import UsageError
from virtrbd.lazily import lazily
from virtrbd.model.record import replace
from virtrbd.printable import cut

with lazily():
    from virtrbd.commands.connected.named import require_domain
    from virtrbd.domainxml.defined import DefinedDomain
    from virtrbd.domainxml.ignoring import has_path
    from virtrbd.domainxml.schema_paths import can_exist
    from virtrbd.hypervisor.connection import Hypervisor
    from virtrbd.model.mark import DomainMark


@verb
@DOMAIN
@click.argument("path", default="")
@click.option("--undo", is_flag=True, help="Manage the path again.")
def ignore(run: Run, name: str, path: str, undo: bool) -> None:
    """Leave one PATH of a domain to virsh; without one, list them.

    A PATH is written as plan shows it, like /devices/disk:vda/driver/@cache.
    """
    require_plain_text("PATH", path)
    bare = path.strip("/") or ("/" if path else "")
    with Hypervisor.connect(run.settings()) as hypervisor:
        domain = require_domain(hypervisor, name)
        if path:
            if not undo and not _is_known(domain, bare):
                _require_possible(bare)
                # Reported, not refused: the spec may be about to state it. A typo would not silence anything.
                run.say(f"{name}: nothing here has /{bare} so far; plan shows the existing paths")
            hypervisor.set_mark(domain.uuid, lambda mark: _with_ignored(mark, bare, undo=undo))
            domain = require_domain(hypervisor, name)
        mark = domain.definition.mark
    ignored = mark.ignored if mark else ()
    lines = [f"{name}: ignores /{cut(each.strip('/'))}" for each in ignored] or [f"{name}: ignores nothing"]
    run.answer({"name": name, "ignored": list(ignored)}, lines)


def _is_known(domain: DefinedDomain, bare: str) -> bool:
    """Whether the definition, the guest or the stated paths have the path."""
    mark = domain.definition.mark
    known = {*(mark.stated if mark else ()), *(change.path.strip("/") for change in (mark.foreign if mark else ()))}
    is_stated = any(path == bare or path.startswith(f"{bare}/") for path in known)
    return bare in ("/", "autostart") or is_stated or any(has_path(document, bare) for document in domain.documents)


def _require_possible(bare: str) -> None:
    """Raise UsageError for a path that no definition could have, by libvirt's own schema."""
    if not can_exist(bare):
        example = "/devices/disk:vda/driver/@cache"
        raise UsageError(f"PATH: a definition cannot have /{cut(bare)}; write a path as plan shows it, like {example}")


def _with_ignored(mark: DomainMark, bare: str, *, undo: bool) -> DomainMark:
    paths = {each for each in mark.ignored if each != bare} | (set() if undo else {bare})
    foreign = tuple(change for change in mark.foreign if change.path.strip("/") != bare.strip("/"))
    # Without its inputs' digest the definition is compared with the spec again.
    return replace(mark, ignored=tuple(sorted(paths - {"/"})), foreign=foreign, inputs="")
