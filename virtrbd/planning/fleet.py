"""What only a look at all domains of a host shows: orphans, images with two users, monitors that are gone."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from virtrbd.domainxml.plain import NAMESPACE, monitors_of
from virtrbd.model.actual import Actual
from virtrbd.model.domain import DefinedDomain, Disk, Domain
from virtrbd.model.plan import DomainPlan, Finding, FindingKind
from virtrbd.printable import shell_command

_SOURCE = re.compile(r"""<source protocol=['"]rbd['"] name=['"]([^'"&]+)""")

Users = Mapping[str, Sequence[DefinedDomain]]


def users_by_source(domains: Sequence[DefinedDomain]) -> Users:
    """Return which domains name an RBD source, by its text up to what XML escapes; parsing all would take long."""
    found: dict[str, list[DefinedDomain]] = defaultdict(list)
    for domain in domains:
        for source in set(_SOURCE.findall(domain.definition)):
            found[source].append(domain)
    return found


def shared_images(domain: Domain, users: Users) -> list[str]:
    """Name the images that another domain of this host writes to already: two writers destroy a disk."""
    problems = []
    for disk in domain.disks:
        source = re.split("[&'\"]", _escaped(f"{disk.image.pool}/{disk.image.path}"))[0]
        candidates = [other for other in users.get(source, ()) if disk.is_written and other.uuid != domain.uuid]
        problems += [
            f"{domain.origin}: disk {disk.target}: image {disk.image} is already written by domain {other.name}; "
            f"give it an image of its own, or write readonly or shareable in both"
            for other in candidates
            if _writes(other, disk)
        ]
    return problems


def _writes(other: DefinedDomain, disk: Disk) -> bool:
    # Here and below, not above: a run in which nothing changed parses no XML, and needs no lxml.
    from virtrbd.domainxml.parse import parse_disks

    return any(theirs.is_written and theirs.image == disk.image for theirs in parse_disks(other.definition))


def _escaped(text: str) -> str:
    return re.sub("[<>]", "&", text)


def others(desired: Sequence[Domain], actual: Actual, *, here: str, with_orphans: bool) -> Iterator[DomainPlan]:
    """Yield what is to be said of domains that no spec puts on this host."""
    names, uuids = {domain.name for domain in desired}, {domain.uuid for domain in desired}
    elsewhere = {domain.name: domain.host for domain in desired if domain.host != here}
    for found in actual.domains:
        findings = []
        if found.name in elsewhere or not (found.name in names or found.uuid in uuids):
            findings += list(_stale_monitors(found, actual))
            if with_orphans and _is_ours(found):
                findings.append(_orphan(found, elsewhere.get(found.name, "")))
        if findings:
            yield DomainPlan(name=found.name, findings=tuple(findings))


def _is_ours(found: DefinedDomain) -> bool:
    if NAMESPACE not in found.definition:
        return False
    from virtrbd.domainxml.mark import read_mark

    return read_mark(found.definition) is not None


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


def _stale_monitors(found: DefinedDomain, actual: Actual) -> Iterator[Finding]:
    held = monitors_of(found.definition)
    if held and held.isdisjoint(monitor.address for monitor in actual.cluster.monitors):
        state = "runs, and would not survive a restart" if found.state.is_active else "will not start"
        yield Finding(
            domain=found.name,
            kind=FindingKind.MONITORS,
            text=f"{state}: the monitors in its definition are all gone ({', '.join(sorted(held))}); it is not "
            f"virtrbd's to mend ({shell_command('virtrbd adopt', found.name)})",
        )
