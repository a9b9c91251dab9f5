"""What only a look at all domains of a host shows: orphans, images with two users, monitors that are gone."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from virtrbd.contained import contained
from virtrbd.domainxml.plain import NAMESPACE, are_all_gone, may_be_no_xml, may_name_more, monitor_addresses, sources_in
from virtrbd.errors import ExitCode, VirtrbdError
from virtrbd.model.actual import Actual
from virtrbd.model.domain import DefinedDomain, Domain, UnreadDomain
from virtrbd.model.failure import Failure, failure_of
from virtrbd.model.image import ImageRef
from virtrbd.model.image_use import DomainUse, ImageUse, Role
from virtrbd.model.plan import DomainPlan, Finding, FindingKind
from virtrbd.printable import shell_command

# What libvirt keeps of domains besides their definition and live XML, by UUID, or why it cannot be read.
Kept = Mapping[str, Sequence[str | Failure]]


def neighbours(desired: Sequence[Domain], held: Sequence[DefinedDomain], kept: Kept) -> tuple[DefinedDomain, ...]:
    """Return the domains that may use an image of another one's spec, by their text; parsing all would take long.

    `kept`: what libvirt keeps of domains besides their definition and live XML, by UUID.
    """
    owners: dict[str, set[str]] = defaultdict(set)
    for domain in desired:
        for ref in _images(domain):
            owners[f"{ref.pool}/{ref.path}"] |= {domain.uuid, domain.name}

    def may_use(found: DefinedDomain) -> bool:
        texts = [each for each in (found.definition, found.live, *kept.get(found.uuid, ())) if isinstance(each, str)]
        if any(map(may_name_more, texts)):
            return True
        named = (owners.get(source) for text in texts for source in sources_in(text))
        return any(each and each.isdisjoint((found.uuid, found.name)) for each in named)

    return tuple(filter(may_use, held))


def _images(domain: Domain) -> Iterator[ImageRef]:
    yield from (disk.image.image for disk in domain.disks)
    yield from (cdrom.image.image for cdrom in domain.cdroms if cdrom.image)
    if domain.seed:
        yield domain.seed.image
    yield from domain.xml.images if domain.xml else ()


def shared_images(domain: Domain, uses: Sequence[DomainUse]) -> list[str]:
    """Name the images that another domain of this host uses so that this one must not write to them, or read them.

    Two writers destroy a disk, and what an overlay is built on must stay as it is. A CD-ROM drive does not write, and
    would show this domain's guest what is on the other one's disk. A snapshot stays as it is whoever writes.
    """
    others = [use for use in uses if use.uuid != domain.uuid]
    written = [(f"disk {disk.target}", disk.image.image) for disk in domain.disks if disk.is_written]
    written += [("cloud_init", domain.seed.image)] if domain.seed else []
    written += [("xml", ref) for ref in domain.xml.images] if domain.xml else []
    read = [(f"cdrom {each.target}", each.image.image) for each in domain.cdroms if each.image and not each.is_seed]
    problems = [
        f"{where}: image {ref} is already {_used_as(using)} domain {other}; "
        f"give it an image of its own, or write readonly or shareable in both"
        for where, ref in written
        for other, using in _users(ref, others)
    ]
    problems += [
        f"{where}: image {ref} is {_read_as(using)} domain {other}; name another image, or a copy of it"
        for where, ref in read
        for other, using in _users(ref, others)
    ]
    return [f"{domain.origin}: {problem}" for problem in problems]


def _users(ref: ImageRef, others: Sequence[DomainUse]) -> Iterator[tuple[str, ImageUse | None]]:
    """Yield who uses the image, by name, and how; one that names it and cannot be read may do so: None."""
    for other in others:
        if using := other.excluding(ref):
            yield other.name + (f" ({using[0]})" if using[0].kept_in else ""), using[0]
        elif other.may_use(ref):
            what = next(each.what for each in other.unread if each.text is not None and each.may_name(ref))
            yield f"{other.name}, perhaps: virtrbd cannot read {what}", None


def _used_as(using: ImageUse | None) -> str:
    return "written by" if using is None or using.role is Role.DISK else f"{using} of"


def _read_as(using: ImageUse | None) -> str:
    return "a disk of" if using is None or using.role is Role.DISK else f"{using} of"


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
    held = monitor_addresses(found.definition)
    if are_all_gone(held, actual.cluster.addresses):
        state = "runs, and would not survive a restart" if found.state.is_active else "will not start"
        yield Finding(
            domain=found.name,
            kind=FindingKind.MONITORS,
            text=f"{state}: the monitors in its definition are all gone ({', '.join(sorted(held))}); it is not "
            f"virtrbd's to mend ({shell_command('virtrbd adopt', found.name)})",
        )
