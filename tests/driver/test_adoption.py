"""Any definition that a spec could have led to is led back to such a spec."""

from collections.abc import Iterator

import libvirt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.whole_domains import UUID, domains
from support.xml import at

from virtrbd.adoption.adopt import adopted
from virtrbd.adoption.disk_values import images_of
from virtrbd.adoption.trial import Circumstances
from virtrbd.compat.adapt import fit
from virtrbd.compat.assumed import capabilities_by_hand
from virtrbd.domainxml.document import Definition
from virtrbd.domainxml.edit import edit_definition
from virtrbd.domainxml.render import render
from virtrbd.domainxml.tree import parse_tree, to_text
from virtrbd.model.cluster import ClusterFacts, Monitor
from virtrbd.model.disk import Bus, Disk
from virtrbd.model.domain import Domain
from virtrbd.model.fitted import Fitted
from virtrbd.model.image import Image, ImageRef
from virtrbd.model.mark import DomainMark
from virtrbd.model.record import replace
from virtrbd.model.settings import Settings
from virtrbd.specs.disk_rules import disk_problems
from virtrbd.specs.files import SpecFile, SpecFiles
from virtrbd.specs.load import check_files
from virtrbd.specs.resolve import resolve

CLUSTER = ClusterFacts(fsid="f", monitors=(Monitor(address="::1", port=3301), Monitor(address="m")), user="u")
SECRET = "11111111-1111-1111-1111-111111111111"
# One whose libvirt has a word for all that a spec can say: namespaces, blockio, VLANs on plain bridges.
NEWEST = capabilities_by_hand("libvirt=11.6,qemu=10.0", "pc")


@pytest.fixture(scope="module")
def connection() -> Iterator[libvirt.virConnect]:
    libvirt.registerErrorHandler(lambda *_: None, None)
    opened = libvirt.open("test:///default")
    yield opened
    opened.close()


def made_by_hand(connection: libvirt.virConnect, domain: Domain) -> str:
    """What libvirt gives back of a domain without a mark; the test driver has one machine only, and no QEMU."""
    xml = render(Fitted(domain=domain), CLUSTER, SECRET).text.replace('arch="x86_64" machine="pc"', 'arch="i686"')
    defined = connection.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    root = parse_tree(defined.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
    defined.undefine()
    root.set("type", "qemu")
    kind = at(root, "os/type")
    kind.set("arch", "x86_64")
    kind.set("machine", "pc-i440fx-7.2")
    return to_text(root)


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
)
@given(domain=domains("test"), carries=st.booleans())
def test_the_spec_of_any_definition_changes_nothing_in_it(
    connection: libvirt.virConnect, domain: Domain, carries: bool
) -> None:
    definition = Definition(made_by_hand(connection, domain))
    here = circumstances(definition, carries=carries)
    found = adopted(here)
    if found.refusals:
        # A spec needs a disk, and libvirt takes some that none can have: a snapshot that is written to.
        assert all(list(disk_problems([disk])) for disk in domain.disks) or has_twice(domain), found.refusals
        return
    files = SpecFiles(specs=(SpecFile(path="law.yaml", raw=found.spec.encode()),))
    (resolved,) = resolve(check_files(files, here.settings), here.settings)
    fitted = fit(resolved, NEWEST)
    assert fitted.problems == ()
    wanted = render(fitted.fitted, CLUSTER, SECRET)
    mark = DomainMark(uuid=UUID, host="h")
    assert edit_definition(definition, wanted, None, mark).differences == ()


def has_twice(domain: Domain) -> bool:
    """Whether two disks write to one image: of a spec each image has one writer."""
    written = [disk.image for disk in domain.disks if disk.is_written]
    return len(set(written)) < len(written)


@pytest.mark.parametrize("carries", [True, False])
def test_of_an_image_that_two_disks_write_to_a_spec_names_one_disk_alone(
    connection: libvirt.virConnect, carries: bool
) -> None:
    """Libvirt takes it; with XML of its own the spec would name the image twice, and be refused ever after."""
    disk = Disk(target="vda", bus=Bus.VIRTIO, image=ImageRef(pool="vms", name="d"))
    domain = Domain(
        name="law", uuid=UUID, memory_bytes=2**20, vcpus=1, machine="pc", hypervisor="test", host="kvm-1",
        disks=(disk, replace(disk, target="vdb")),
    )  # fmt: skip
    here = circumstances(Definition(made_by_hand(connection, domain)), carries=carries)
    found = adopted(here)
    assert [str(each.path) for each in found.unexpressed] == ["/devices/disk:vdb"]
    if carries:
        (refusal,) = found.refusals
        assert "image vms/d is already used" in refusal
        assert refusal.endswith("or adopt with --no-xml, which leaves it as it is")
    else:
        assert found.spec.count("vms/d") == 1


def circumstances(definition: Definition, *, carries: bool) -> Circumstances:
    return Circumstances(
        definition=definition,
        autostart=False,
        settings=Settings(host="kvm-1", ceph_configs=("/etc/ceph/other.conf",)),
        file="law.yaml",
        profiles=None,
        capabilities=NEWEST,
        cluster=CLUSTER,
        monitors=frozenset(monitor.address for monitor in CLUSTER.monitors),
        secret_uuid=SECRET,
        images={ref: Image(ref=ref, image_id="i", size_bytes=2**30, created_at=0) for ref in images_of(definition)},
        carries=carries,
    )
