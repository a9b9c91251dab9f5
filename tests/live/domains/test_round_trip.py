"""Law 10 on the real QEMU driver: what libvirt gives back shows no difference to what was rendered."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import libvirt
import pytest
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as profile
from hypothesis import strategies as st
from support.checkout import CHECKOUT
from support.lab import LabHost
from support.whole_domains import domains

from virtrbd.compat.adapt import fit
from virtrbd.domainxml.document import Definition
from virtrbd.domainxml.edit import edit_definition, with_mark
from virtrbd.domainxml.managed_paths import stated_paths
from virtrbd.domainxml.rendered import render_document
from virtrbd.hypervisor.connection import Hypervisor
from virtrbd.model.capabilities import Version
from virtrbd.model.cluster import ClusterFacts, Monitor
from virtrbd.model.disk import Bus, Cdrom, Disk
from virtrbd.model.domain import Domain
from virtrbd.model.mark import DomainMark
from virtrbd.model.record import replace
from virtrbd.model.settings import Settings
from virtrbd.specs.load import load
from virtrbd.specs.resolve import resolve

pytestmark = pytest.mark.stack

SPECS = sorted((CHECKOUT / "tests/specs/valid").glob("*.yaml"))
# One at least is the lab's: a domain whose monitors are all gone would be told of by every plan that runs beside this.
MONITORS = (Monitor(address="::1", port=3301), Monitor(address="m"), Monitor(address="127.0.0.1"))
CLUSTER = ClusterFacts(fsid="f", monitors=MONITORS, user="u")
SECRET = "11111111-1111-1111-1111-111111111111"


@pytest.fixture
def uri(host: LabHost) -> str:
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
    for domain in {each.UUIDString(): each for each in defined}.values():
        domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
    connection.close()


def domains_of(file: Path, name: str) -> list[Domain]:
    settings = Settings(host="kvm-1", ceph_configs=("/etc/ceph/guests.conf",))
    found = resolve(load([str(file)], settings), settings)
    # Under TCG: the host's own CPU is KVM's.
    return [
        replace(
            d, name=f"{name}{n}", uuid=f"{name[1:9]:0<8}-0000-4000-8000-00000000000{n}", hypervisor="qemu", cpu=None
        )
        for n, d in enumerate(found)
    ]


def without_newer_threads(domain: Domain, libvirt: Version) -> Domain:
    """A disk has several I/O threads from libvirt 10.0 on."""
    if libvirt >= (10, 0, 0) or not any(disk.iothreads for disk in domain.disks):
        return domain
    return replace(domain, disks=tuple(replace(disk, iothreads={}) for disk in domain.disks), cputune=None)


@pytest.mark.parametrize("file", SPECS, ids=lambda file: file.stem)
def test_every_valid_spec_comes_back_as_it_was_rendered(
    file: Path, uri: str, name: str, define: Callable[[str], str]
) -> None:
    with Hypervisor.connect(Settings(host="kvm-1", connect=uri)) as hypervisor:
        for domain in domains_of(file, name):
            capabilities = hypervisor.capabilities("qemu", domain.machine)
            assert capabilities is not None
            fitted = fit(without_newer_threads(domain, capabilities.libvirt), capabilities)
            assert fitted.problems == ()
            rendering = render_document(fitted.fitted, CLUSTER, SECRET)
            assert rendering.problems == ()
            assert rendering.document is not None
            mark = DomainMark(uuid=domain.uuid, host="h", stated=stated_paths(rendering.document))
            given_back = define(with_mark(rendering.document, mark).text)
            assert (
                edit_definition(
                    Definition(given_back), rendering.document, Definition(given_back).mark, mark
                ).differences
                == ()
            )


_Drive = TypeVar("_Drive", Disk, Cdrom)


def without_what_is_newer(domain: Domain) -> Domain:
    """Most random wholes hold something that this libvirt refuses: namespaces, VLANs on plain bridges, Secure Boot."""

    def flat(drive: _Drive) -> _Drive:
        return replace(drive, image=replace(drive.image, namespace="")) if drive.image else drive

    return replace(
        domain,
        cpu=None,
        firmware=replace(domain.firmware, secure_boot=None),
        features={**domain.features, "acpi": True},
        disks=tuple(map(flat, domain.disks)),
        cdroms=tuple(map(flat, domain.cdroms)),
        interfaces=tuple(replace(nic, vlan=() if nic.bridge else nic.vlan) for nic in domain.interfaces),
    )


@pytest.mark.timeout(120)
@profile(
    max_examples=25,
    deadline=None,
    # What libvirt refuses of a random whole is filtered; too much of it would fail the health check.
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_domain_that_is_taken_comes_back_as_it_was_rendered(
    uri: str, define: Callable[[str], str], data: st.DataObject
) -> None:
    machine = data.draw(st.sampled_from(["pc", "q35"]))
    buses = [bus for bus in Bus if machine == "pc" or bus is not Bus.IDE]
    domain = without_what_is_newer(data.draw(domains("qemu", machine=machine, buses=buses)))
    with Hypervisor.connect(Settings(host="kvm-1", connect=uri)) as hypervisor:
        capabilities = hypervisor.capabilities("qemu", machine)
    assert capabilities is not None
    fitted = fit(domain, capabilities)
    assume(not fitted.problems)
    rendering = render_document(fitted.fitted, CLUSTER, SECRET)
    assert rendering.problems == ()
    assert rendering.document is not None
    mark = DomainMark(uuid=domain.uuid, host="h", stated=stated_paths(rendering.document))
    try:
        given_back = define(with_mark(rendering.document, mark).text)
    except libvirt.libvirtError:
        assume(False)
    assert (
        edit_definition(Definition(given_back), rendering.document, Definition(given_back).mark, mark).differences == ()
    )
