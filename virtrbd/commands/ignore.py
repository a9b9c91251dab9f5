"""The verb `ignore`: paths of a domain that are left to virsh."""

from __future__ import annotations

import click

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.domains import DOMAIN, require_plain_text
from virtrbd.errors import UsageError
from virtrbd.lazily import lazily
from virtrbd.model.element_path import ROOT, ElementPath
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
    wanted = ElementPath(path)
    with Hypervisor.connect(run.settings()) as hypervisor:
        domain = require_domain(hypervisor, name)
        if path:
            if not undo and not _is_known(domain, wanted):
                _require_possible(wanted)
                # Reported, not refused: the spec may be about to state it. A typo would not silence anything.
                run.say(f"{name}: nothing here has {wanted} so far; plan shows the existing paths")
            hypervisor.set_mark(domain.uuid, lambda mark: _with_ignored(mark, wanted, undo=undo))
            domain = require_domain(hypervisor, name)
        mark = domain.definition.mark
    ignored = mark.ignored if mark else ()
    lines = [f"{name}: ignores {cut(str(each))}" for each in ignored] or [f"{name}: ignores nothing"]
    run.answer({"name": name, "ignored": [each.text for each in ignored]}, lines)


def _is_known(domain: DefinedDomain, path: ElementPath) -> bool:
    """Whether the definition, the guest or the stated paths have the path."""
    mark = domain.definition.mark
    known = {*(mark.stated if mark else ()), *(change.path for change in (mark.foreign if mark else ()))}
    if path in (ROOT, ElementPath("autostart")) or any(each.is_within(path) for each in known):
        return True
    return any(has_path(document, path) for document in domain.documents)


def _require_possible(path: ElementPath) -> None:
    """Raise UsageError for a path that no definition could have, by libvirt's own schema."""
    if not can_exist(path):
        example = "/devices/disk:vda/driver/@cache"
        raise UsageError(
            f"PATH: a definition cannot have {cut(str(path))}; write a path as plan shows it, like {example}"
        )


def _with_ignored(mark: DomainMark, path: ElementPath, *, undo: bool) -> DomainMark:
    """Return the mark with the path ignored; a whole domain is not, but a change that has no other path is dropped."""
    paths = {each for each in mark.ignored if each != path} | (set() if undo else {path})
    foreign = tuple(change for change in mark.foreign if change.path != path)
    # Without its inputs' digest the definition is compared with the spec again.
    return replace(mark, ignored=tuple(sorted(paths - {ROOT})), foreign=foreign, inputs="")
