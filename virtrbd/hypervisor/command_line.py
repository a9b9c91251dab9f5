"""The QEMU command line that libvirt would make of a domain."""

import re
from typing import Any

from virtrbd.domainxml.document import Document
from virtrbd.hypervisor.bindings import libvirt
from virtrbd.hypervisor.connection import Hypervisor
from virtrbd.hypervisor.reading import answers
from virtrbd.lazily import lazily

with lazily():
    from virtrbd.domainxml.libvirt_defaults import is_plain

# Of a secret, which libvirt encrypts again for each QEMU.
_CIPHER = re.compile(r'"(?:data|iv)":"[^"]*",?')
# The order of features has no meaning.
_CPU = re.compile(r"(?<= -cpu )\S+")


def made_of(hypervisor: Hypervisor, document: Document) -> str | None:
    """Return the QEMU command line that libvirt would make of a domain, without what changes each time.

    None where libvirt gives none, or the query would harm it. Nothing is defined or started.
    """
    if not is_plain(document):
        return None

    def read(connection: Any) -> str | None:
        try:
            argv = connection.domainXMLToNative("qemu-argv", document.text, 0)
        except libvirt.libvirtError:
            if not answers(connection):
                raise
            return None
        return _CPU.sub(lambda cpu: ",".join(sorted(cpu[0].split(","))), _CIPHER.sub("", argv))

    return hypervisor.call("reading a command line", read)
