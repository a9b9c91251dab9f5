"""What libvirt gives back after defining shows no difference to what was rendered."""

import libvirt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from virtrbd.domainxml.edit import device_keys, edit_definition, new_definition
from virtrbd.domainxml.mark import read_mark
from virtrbd.domainxml.render import render
from virtrbd.model.actual import ClusterFacts, Monitor
from virtrbd.model.domain import Bus, Cache, Discard, Disk, Domain, DomainMark, Interface
from virtrbd.model.image import ImageRef

PREFIX = {Bus.VIRTIO: "vd", Bus.SCSI: "sd"}
names = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="/@:"), min_size=1, max_size=20)


@st.composite
def domains(draw: st.DrawFn) -> Domain:
    disks = []
    for index in range(draw(st.integers(1, 4))):
        bus = draw(st.sampled_from([Bus.VIRTIO, Bus.SCSI]))
        disks.append(
            Disk(
                target=PREFIX[bus] + "abcd"[index],
                bus=bus,
                image=ImageRef(pool=draw(names), name=draw(names)),
                cache=draw(st.sampled_from(Cache)),
                discard=draw(st.sampled_from(Discard)),
                boot=draw(st.sampled_from([None, index + 1])),
                readonly=draw(st.booleans()),
            )
        )
    macs = draw(st.lists(st.integers(0, 255), unique=True, max_size=3))
    return Domain(
        name="law",
        uuid="22222222-2222-2222-2222-222222222222",
        memory_bytes=draw(st.integers(1, 4096)) * 1024**2,
        vcpus=draw(st.integers(1, 16)),
        machine="pc",
        hypervisor="test",
        host="kvm-1",
        disks=tuple(disks),
        interfaces=tuple(Interface(mac=f"52:54:00:00:00:{mac:02x}", bridge="br0") for mac in macs),
        serial_console=draw(st.booleans()),
        guest_agent=draw(st.booleans()),
    )


@pytest.fixture(scope="module")
def connection():  # type: ignore[no-untyped-def]
    libvirt.registerErrorHandler(lambda *_: None, None)
    opened = libvirt.open("test:///default")
    yield opened
    opened.close()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(domain=domains())
def test_what_libvirt_gives_back_is_what_was_rendered(connection: libvirt.virConnect, domain: Domain) -> None:
    cluster = ClusterFacts(fsid="f", monitors=(Monitor(address="::1", port=3301), Monitor(address="m")), user="u")
    wanted = render(domain, cluster, "11111111-1111-1111-1111-111111111111").replace('arch="x86_64"', 'arch="i686"')
    wanted = wanted.replace('machine="pc"', "")
    mark = DomainMark(uuid=domain.uuid, host="h", devices=device_keys(wanted))
    defined = connection.defineXMLFlags(new_definition(wanted, mark), libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    try:
        given_back = defined.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        assert edit_definition(given_back, wanted, read_mark(given_back), mark).differences == ()
    finally:
        defined.undefine()
