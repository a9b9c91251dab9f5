"""What only a look at all domains of a host shows: orphans, images with two users, monitors that are gone."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from virtrbd.contained import contained
from virtrbd.domainxml.plain import NAMESPACE, may_be_no_xml, monitors_of
from virtrbd.errors import DocumentError, ExitCode, VirtrbdError
from virtrbd.model.actual import Actual
from virtrbd.model.domain import DefinedDomain, Domain, UnreadDomain
from virtrbd.model.failure import Failure, failure_of
from virtrbd.model.image import ImageRef
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
    """Name the images that another domain of this host writes to already: two writers destroy a disk.

    A CD-ROM drive does not write, and would show this domain's guest what is on the other one's disk.
    """
    problems = []
    written = ((disk.target, disk.image) for disk in domain.disks if disk.is_written)
    for target, image in written:
        problems += [
            f"{domain.origin}: disk {target}: image {image} is already written by domain {other}; "
            f"give it an image of its own, or write readonly or shareable in both"
            for other in _writers(domain, image, users)
        ]
    for cdrom in domain.cdroms:
        problems += [
            f"{domain.origin}: cdrom {cdrom.target}: image {cdrom.image} is a disk of domain {other}; "
            f"name another image, or a copy of it"
            for other in (_writers(domain, cdrom.image.image, users) if cdrom.image else ())
        ]
    return problems


def _writers(domain: Domain, image: ImageRef, users: Users) -> Iterator[str]:
    """Yield the other domains that write to the image, by name; one that names it and cannot be read may do so."""
    source = re.split("[&'\"]", _escaped(f"{image.pool}/{image.path}"))[0]
    for other in users.get(source, ()):
        if other.uuid == domain.uuid:
            continue
        try:
            if _writes(other, image):
                yield other.name
        except DocumentError as error:
            yield f"{other.name}, perhaps: {error}"


def _writes(other: DefinedDomain, image: ImageRef) -> bool:
    # Here and below, not above: a run in which nothing changed parses no XML, and needs no lxml.
    from virtrbd.domainxml.parse import parse_disks

    return any(theirs.is_written and theirs.image == image for theirs in parse_disks(other.definition))


def _escaped(text: str) -> str:
    return re.sub("[<>]", "&", text)


def others(desired: Sequence[Domain], actual: Actual, *, here: str, with_orphans: bool) -> Iterator[DomainPlan]:
    """Yield what is to be said of domains that no spec puts on this host."""
    names, uuids = {domain.name for domain in desired}, {domain.uuid for domain in desired}
    elsewhere = {domain.name: domain.host for domain in desired if domain.host != here}

    def is_other(found: DefinedDomain | UnreadDomain) -> bool:
        return found.name in elsewhere or not (found.name in names or found.uuid in uuids)

    yield from (_unread(found.name, found.failure) for found in actual.unread_domains if is_other(found))
    for found in filter(is_other, actual.domains):
        try:
            with contained(f"looking at domain {found.name}"):
                findings = [*_no_xml(found), *_stale_monitors(found, actual)]
                if with_orphans and _is_ours(found):
                    findings.append(_orphan(found, elsewhere.get(found.name, "")))
        except VirtrbdError as error:
            yield _unread(found.name, failure_of(error))
            continue
        if findings:
            yield DomainPlan(name=found.name, findings=tuple(findings))


def _unread(name: str, failure: Failure) -> DomainPlan:
    """Say that a domain of somebody else's cannot be read; a defect of virtrbd's own is a failure all the same."""
    if failure.exit_code is ExitCode.BUG:
        return DomainPlan(name=name, failures=(failure,))
    return DomainPlan(name=name, findings=(Finding(domain=name, kind=FindingKind.UNREAD, text=failure.text),))


def _no_xml(found: DefinedDomain) -> Iterator[Finding]:
    if finding := no_xml_finding(found.name, found):
        yield finding


def no_xml_finding(name: str, found: DefinedDomain) -> Finding | None:
    """Return what to say of a definition that libvirt itself could not read again: measured, it loses the domain."""
    if not (found.persistent and may_be_no_xml(found.definition)):
        return None
    from virtrbd.domainxml.parsing import parse

    flaw = parse(found.definition).flaw
    text = (
        f"its definition holds {flaw}: when libvirtd is restarted, it does not know the domain any more; write title, "
        f"description and metadata without that now (virsh desc, virsh metadata)"
    )
    return Finding(domain=name, kind=FindingKind.NOT_XML, text=text) if flaw else None


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
