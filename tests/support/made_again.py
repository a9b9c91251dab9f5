"""Domains that people have, adopted and made again from their specs alone: what libvirt then holds is compared.

In process, on a libvirt with QEMU: no command is started, and no guest.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import libvirt

from virtrbd.adoption.adopt import Adopted, adopted
from virtrbd.adoption.disk_values import images_of
from virtrbd.adoption.trial import Circumstances
from virtrbd.compat.adapt import fit
from virtrbd.domainxml.document import Definition, Document
from virtrbd.domainxml.edit import edit_definition
from virtrbd.domainxml.rendered import render_document
from virtrbd.domainxml.tree import Element, device_key, devices_of, parse_tree
from virtrbd.domainxml.type_changes import lift_auth
from virtrbd.model.capabilities import Capabilities
from virtrbd.model.cluster import ClusterFacts, Monitor
from virtrbd.model.image import Image
from virtrbd.model.mark import DomainMark
from virtrbd.model.settings import Settings
from virtrbd.specs.files import SpecFile, SpecFiles
from virtrbd.specs.load import check_files
from virtrbd.specs.resolve import resolve

MONITOR = "10.0.0.1"
CLUSTER = ClusterFacts(fsid="f", monitors=(Monitor(address=MONITOR),), user="virtrbd")
# Each process its own: tests run beside each other on one libvirt.
SECRET = f"5eed0000-0000-4000-8000-{os.getpid():012x}"
UNDEFINE = libvirt.VIR_DOMAIN_UNDEFINE_NVRAM | libvirt.VIR_DOMAIN_UNDEFINE_KEEP_TPM

# A disk on RBD, as this cluster's specs have it: a domain without one is not virtrbd's business.
RBD_DISK = f"""<disk type='network' device='disk'><driver name='qemu' type='raw'/>
<source protocol='rbd' name='vms/{{name}}'><host name='{MONITOR}'/><auth username='virtrbd'>
<secret type='ceph' uuid='{SECRET}'/></auth></source><target dev='{{target}}' bus='{{bus}}'/></disk>"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """How adopting a domain and making it again went: its definition, its spec, and what differs afterwards.

    `changes`: what a define by the spec would change in the definition that is there already.
    """

    definition: str
    found: Adopted
    changes: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()


@dataclass(slots=True)
class Host:
    """A libvirt by a connection of the test's own, and what virtrbd asks of it."""

    connection: Any
    capabilities_of: Callable[[str, str], Capabilities | None]
    made_of: Callable[[Document], str | None]
    known: dict[tuple[str, str], Capabilities | None] = field(default_factory=dict)

    def define_secret(self) -> None:
        usage = f"<usage type='ceph'><name>made again {os.getpid()}</name></usage>"
        self.connection.secretDefineXML(f"<secret private='yes'><uuid>{SECRET}</uuid>{usage}</secret>").setValue(b"x")

    def capabilities(self, key: tuple[str, str]) -> Capabilities | None:
        if key not in self.known:
            self.known[key] = self.capabilities_of(*key)
        return self.known[key]

    def define(self, xml: str) -> str:
        """Return what libvirt holds of a domain that is defined, and undefined again. Raises libvirtError."""
        domain = self.connection.defineXML(xml)
        try:
            return str(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
        finally:
            with suppress(libvirt.libvirtError):
                domain.undefineFlags(UNDEFINE)


def made_again(host: Host, xml: str) -> Again:
    """Define a domain, adopt it, undefine it, and define it again from its spec alone. Raises libvirtError."""
    definition = Definition(host.define(xml))
    capabilities = host.capabilities((definition.hypervisor_type, definition.machine))
    if capabilities is None:
        return Again(definition=definition.text, found=Adopted(refusals=("libvirt knows no such machine",)))
    refs = images_of(definition, {MONITOR})
    here = Circumstances(
        definition=definition,
        autostart=False,
        settings=Settings(host="kvm-1"),
        file="it.yaml",
        profiles=None,
        capabilities=capabilities,
        cluster=CLUSTER,
        monitors=frozenset({MONITOR}),
        secret_uuid=SECRET,
        images={ref: Image(ref=ref, image_id="i", size_bytes=20 * 2**30, created_at=0) for ref in refs},
        made_of=host.made_of,
    )
    found = adopted(here)
    if found.refusals:
        return Again(definition=definition.text, found=found)
    files = SpecFiles(specs=(SpecFile(path="it.yaml", raw=found.spec.encode()),))
    (domain,) = resolve(check_files(files, here.settings), here.settings)
    fitted = fit(domain, capabilities)
    rendering = render_document(fitted.fitted, CLUSTER, SECRET)
    assert rendering.document is not None
    edit = edit_definition(definition, rendering.document, None, DomainMark(uuid=domain.uuid, host="h"))
    changes = (*fitted.problems, *rendering.problems, *map(str, edit.differences), *edit.unclear)
    try:
        again = host.define(rendering.document.text)
    except libvirt.libvirtError as error:
        return Again(definition=definition.text, found=found, changes=changes, differences=(f"not defined: {error}",))
    return Again(
        definition=definition.text, found=found, changes=changes, differences=differences(definition.text, again)
    )


def differences(before: str, after: str) -> tuple[str, ...]:
    """Return the paths that two definitions differ in; libvirt orders devices by itself."""
    old, new = (_said(parse_tree(xml)) for xml in (before, after))
    return tuple(
        f"{path}: {old.get(path)} -> {new.get(path)}"
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    )


def _said(root: Element) -> Mapping[str, object]:
    """Return all that a definition says, by path; devices by their key or, without one, by all that they say."""
    said: dict[str, object] = {}
    for disk in root.iterfind("devices/disk[@type='network']"):
        lift_auth(disk)
    for loader in root.iterfind("os/loader[@type='pflash'][@stateless='no']"):
        # A flash keeps its variables by default; virtrbd says so, or libvirt 9.2 and later choose another loader.
        del loader.attrib["stateless"]
    for features in root.findall("cpu"):
        features[:] = sorted(features, key=lambda feature: (str(feature.tag), feature.get("name", "")))
    for child in root:
        if child.tag not in ("devices", "metadata"):
            _say(said, f"/{child.tag}", child)
    for device in devices_of(root):
        # A USB 2 controller is several functions of one index.
        model = device.get("model", "") if device.get("type") == "usb" else ""
        _say(said, f"/devices/{device_key(device) or device.tag}{model}", device)
    # A guest boots from the first disk, and numbers its interfaces.
    for tag in ("disk", "interface"):
        said[f"order of {tag}"] = [device_key(device) for device in devices_of(root) if device.tag == tag]
    return said


def _say(said: dict[str, object], path: str, element: Element) -> None:
    number = 1
    while f"{path}[{number}]" in said:
        number += 1
    path = f"{path}[{number}]"
    said[path] = ((element.text or "").strip(), tuple(sorted(element.attrib.items())))
    for child in element:
        if isinstance(child.tag, str):
            _say(said, f"{path}/{child.tag}", child)
