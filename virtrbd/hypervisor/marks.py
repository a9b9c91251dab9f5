"""What is kept with a domain beside what it is: marks, and the passwords of its screens."""

from dataclasses import replace
from typing import Any

from virtrbd.domainxml.plain import NAMESPACE
from virtrbd.hypervisor.bindings import libvirt
from virtrbd.model.domain import DomainMark


def mark_of(domain: Any) -> DomainMark | None:
    """Return the mark in the domain's definition, None where it is nobody's that we know."""
    from virtrbd.domainxml.mark import read_mark

    return read_mark(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))


def record(domain: Any, mark: DomainMark) -> str:
    """Write the mark with the definition's digest, and return the definition as libvirt holds it then."""
    from virtrbd.domainxml.mark import definition_digest

    digest = definition_digest(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
    write_mark(domain, replace(mark, definition=digest), libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    return str(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))


def write_mark(domain: Any, mark: DomainMark, where: int) -> None:
    """Write the mark into the definition or the live XML, as libvirt's flag `where` says."""
    from virtrbd.domainxml.mark import mark_text

    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, mark_text(mark), "virtrbd", NAMESPACE, where)


def with_passwords_of(connection: Any, xml: str, uuid: str) -> str:
    """Return the XML with the passwords that the domain's definition holds.

    They come from libvirt and go back there; no file, plan or log ever sees them.
    """
    from virtrbd.domainxml.passwords import with_passwords

    try:
        domain = connection.lookupByUUIDString(uuid)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return xml
        raise
    return with_passwords(xml, domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE))
