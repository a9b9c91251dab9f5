"""Law 10 on the real QEMU driver: what libvirt gives back shows no difference to what was rendered."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import libvirt
import pytest

from virtrbd.domainxml.document import render_document
from virtrbd.domainxml.edit import edit_definition, new_definition
from virtrbd.domainxml.mark import read_mark
from virtrbd.domainxml.stated import stated_paths
from virtrbd.fitting.fit import fit
from virtrbd.host.hypervisor import Hypervisor
from virtrbd.model.actual import ClusterFacts, Monitor
from virtrbd.model.domain import Domain, DomainMark
from virtrbd.model.settings import Settings
from virtrbd.spec.load import load
from virtrbd.spec.resolve import resolve

SPECS = sorted((Path(__file__).parent.parent / "specs/valid").glob("*.yaml"))
CLUSTER = ClusterFacts(fsid="f", monitors=(Monitor(address="::1", port=3301), Monitor(address="m")), user="u")
SECRET = "11111111-1111-1111-1111-111111111111"


@pytest.fixture
def uri(host) -> str:  # type: ignore[no-untyped-def]
    return str(host.ok("printenv", "LIBVIRT_DEFAULT_URI").strip())


@pytest.fixture
def define(uri: str) -> Iterator[Callable[[str], str]]:
    """Define as virtrbd does, by libvirt's schema too, and return what libvirt gives back."""
    connection = libvirt.open(uri)
    defined = []

    def run(xml: str) -> str:
        domain = connection.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
        defined.append(domain)
        return str(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))

    yield run
    for domain in defined:
        domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
    connection.close()


def domains_of(file: Path, name: str) -> list[Domain]:
    settings = Settings(host="kvm-1")
    found = resolve(load([str(file)], settings), settings)
    # Under TCG: the host's own CPU is KVM's.
    return [
        replace(
            d, name=f"{name}{n}", uuid=f"{name[1:9]:0<8}-0000-4000-8000-00000000000{n}", hypervisor="qemu", cpu=None
        )
        for n, d in enumerate(found)
    ]


@pytest.mark.parametrize("file", SPECS, ids=lambda file: file.stem)
def test_every_valid_spec_comes_back_as_it_was_rendered(file, uri, name, define) -> None:  # type: ignore[no-untyped-def]
    with Hypervisor.connect(Settings(host="kvm-1", connect=uri)) as hypervisor:
        for domain in domains_of(file, name):
            capabilities = hypervisor.capabilities("qemu", domain.machine)
            assert capabilities is not None
            fitted = fit(domain, capabilities)
            assert fitted.problems == ()
            document = render_document(fitted.fitted, CLUSTER, SECRET)
            assert document.problems == ()
            mark = DomainMark(uuid=domain.uuid, host="h", stated=stated_paths(document.xml))
            given_back = define(new_definition(document.xml, mark))
            assert edit_definition(given_back, document.xml, read_mark(given_back), mark).differences == ()
