"""The marks of domains in libvirt, and the passwords of their screens."""

from typing import Any

from virtrbd.domainxml.document import NAMESPACE, Definition, Edited, Rendered
from virtrbd.errors import HypervisorError
from virtrbd.hypervisor.bindings import libvirt
from virtrbd.hypervisor.reading import definition_of, xml_of
from virtrbd.lazily import lazily
from virtrbd.model.mark import DomainMark
from virtrbd.model.record import replace

# A run that finds all in order parses no XML, and needs no lxml.
with lazily():
    from virtrbd.domainxml.given_back import forms_of
    from virtrbd.domainxml.mark import mark_text
    from virtrbd.domainxml.own_devices import settled
    from virtrbd.domainxml.passwords import with_passwords

# REMOTE_STRING_MAX: with a longer XML neither virtrbd nor virsh can read the domain again.
_MOST_BYTES = 4 * 1024**2


def record(domain: Any, mark: DomainMark, rendered: Rendered) -> Definition:
    """Write the mark with the definition's digest, where its devices are and how libvirt wrote what was rendered, and
    return the definition as libvirt holds it then.
    """
    held = definition_of(domain)
    new_mark = settled(held, replace(mark, definition=held.digest))
    new_mark = replace(new_mark, forms=forms_of(held, rendered, new_mark))
    write_mark(domain, new_mark, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    return definition_of(domain)


def write_mark(domain: Any, mark: DomainMark, where: int) -> None:
    """Write the mark into the definition or the live XML, as libvirt's flag `where` says.

    Raises HypervisorError where libvirt could no longer send the domain's XML.
    """
    text = mark_text(mark)
    is_config = where == libvirt.VIR_DOMAIN_AFFECT_CONFIG
    held = xml_of(domain, libvirt.VIR_DOMAIN_XML_INACTIVE if is_config else 0)
    # libvirt indents the mark, and gives each element a prefix.
    if len(held.encode()) + 2 * len(text.encode()) > _MOST_BYTES:
        raise HypervisorError(
            f"the XML of {domain.name()} is not marked, because it would be larger than the 4 MiB that libvirt sends; "
            f"shorten its title, description or metadata with virsh desc and virsh metadata"
        )
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, text, "virtrbd", NAMESPACE, where)


def with_passwords_of(connection: Any, edited: Edited, uuid: str) -> Edited:
    """Return what is to be defined with the passwords that the domain's definition holds.

    They come from libvirt and return there; no file, plan or log ever contains them.
    """
    try:
        domain = connection.lookupByUUIDString(uuid)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return edited
        raise
    held = Definition(xml_of(domain, libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE))
    return with_passwords(edited, held)
