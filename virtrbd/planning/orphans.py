"""Orphans, and other findings about domains that no spec puts on this host: unreadable ones, monitors that are gone."""

from collections.abc import Iterator, Sequence

from virtrbd.contained import contained
from virtrbd.domainxml.defined import DefinedDomain, UnreadDomain
from virtrbd.errors import ExitCode, VirtrbdError
from virtrbd.model.domain import Domain
from virtrbd.model.failure import Failure, failure_of
from virtrbd.model.plan import DomainPlan, Finding, FindingKind
from virtrbd.planning.world import World
from virtrbd.printable import shell_command


def others(desired: Sequence[Domain], actual: World, *, here: str, with_orphans: bool) -> Iterator[DomainPlan]:
    """Yield the findings about domains that no spec puts on this host."""
    names, uuids = {domain.name for domain in desired}, {domain.uuid for domain in desired}
    elsewhere = {domain.name: domain.host for domain in desired if domain.host != here}

    def is_other(found: DefinedDomain | UnreadDomain) -> bool:
        return found.name in elsewhere or not (found.name in names or found.uuid in uuids)

    yield from (_unread(found.name, found.failure) for found in actual.unread_domains if is_other(found))
    for found in filter(is_other, actual.domains):
        try:
            with contained(f"looking at domain {found.name}"):
                findings = [*_no_xml(found), *_stale_monitors(found, actual)]
                if with_orphans and found.definition.is_marked:
                    findings.append(_orphan(found, elsewhere.get(found.name, "")))
        except VirtrbdError as error:
            yield _unread(found.name, failure_of(error))
            continue
        if findings:
            yield DomainPlan(name=found.name, findings=tuple(findings))


def _unread(name: str, failure: Failure) -> DomainPlan:
    """Report that a domain of others cannot be read; a defect of virtrbd is still a failure."""
    if failure.exit_code is ExitCode.BUG:
        return DomainPlan(name=name, failures=(failure,))
    return DomainPlan(name=name, findings=(Finding(domain=name, kind=FindingKind.UNREAD, text=failure.text),))


def _no_xml(found: DefinedDomain) -> Iterator[Finding]:
    if finding := no_xml_finding(found.name, found):
        yield finding


def no_xml_finding(name: str, found: DefinedDomain) -> Finding | None:
    """Return the finding about a definition that libvirt itself could not read again: measured, it loses the domain."""
    if not (found.persistent and found.definition.may_be_no_xml):
        return None
    flaw = found.definition.flaw
    text = (
        f"its definition holds {flaw}: when libvirtd is restarted, it loses the domain; write title, "
        f"description and metadata without it now (virsh desc, virsh metadata)"
    )
    return Finding(domain=name, kind=FindingKind.NOT_XML, text=text) if flaw else None


def _orphan(found: DefinedDomain, host: str) -> Finding:
    if host:
        text = (
            f"its spec puts it on host {host}, and it is defined here; left alone ("
            f"{shell_command('virtrbd undefine', found.name)})"
        )
    else:
        text = (
            f"no spec names it; left alone. Write one ("
            f"{shell_command('virtrbd adopt', found.name)}), or retire it with "
            f"{shell_command('virtrbd remove', found.name)}"
        )
    return Finding(domain=found.name, kind=FindingKind.ORPHAN, text=text)


def _stale_monitors(found: DefinedDomain, actual: World) -> Iterator[Finding]:
    held = found.definition.monitors
    if actual.cluster.has_none_of(held):
        state = "runs, and would not survive a restart" if found.state.is_active else "will not start"
        yield Finding(
            domain=found.name,
            kind=FindingKind.MONITORS,
            text=f"{state}: the monitors in its definition are all gone ({', '.join(sorted(held))}); it is not "
            f"owned by virtrbd, which leaves it alone ({shell_command('virtrbd adopt', found.name)})",
        )
