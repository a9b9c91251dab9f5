"""Domains of the kinds that people have, as libvirt gives them back: each gets a spec that changes nothing in it."""

from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from virtrbd.adoption.adopt import Adopted, adopted
from virtrbd.adoption.disk_values import images_of
from virtrbd.adoption.trial import Circumstances
from virtrbd.adoption.unexpressed import unexpressed_xml
from virtrbd.compat.adapt import fit
from virtrbd.compat.assumed import capabilities_by_hand
from virtrbd.domainxml.document import Definition
from virtrbd.domainxml.edit import edit_definition
from virtrbd.domainxml.monitors import with_own_monitors
from virtrbd.domainxml.own_devices import twins
from virtrbd.domainxml.rendered import render_document
from virtrbd.domainxml.tree import parse_tree, to_text
from virtrbd.model.cluster import ClusterFacts, Monitor
from virtrbd.model.image import Image
from virtrbd.model.mark import DomainMark
from virtrbd.model.record import replace
from virtrbd.model.settings import Settings
from virtrbd.specs.files import SpecFile, SpecFiles
from virtrbd.specs.load import check_files, load
from virtrbd.specs.resolve import resolve

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parent.parent
DEFINITIONS = sorted((TESTS / "data/adopt").glob("*.xml"))
VALID = sorted((TESTS / "specs/valid").glob("*.yaml"))
CLUSTER = ClusterFacts(fsid="f", monitors=(Monitor(address="10.0.0.1"),), user="virtrbd")
SECRET = "11111111-1111-1111-1111-111111111111"


def circumstances(xml: str, versions: str = "libvirt=9.0,qemu=7.2") -> Circumstances:
    machine, definition = "pc" if "pc-i440fx" in xml else "q35", Definition(xml)
    images = {ref: Image(ref=ref, image_id="i", size_bytes=20 * 2**30, created_at=0) for ref in images_of(definition)}
    return Circumstances(
        definition=definition,
        autostart=False,
        settings=Settings(host="kvm-1", ceph_configs=("/etc/ceph/libvirt.conf",)),
        file="it.yaml",
        profiles=None,
        capabilities=capabilities_by_hand(versions, machine),
        cluster=CLUSTER,
        monitors=frozenset(monitor.address for monitor in CLUSTER.monitors),
        secret_uuid=SECRET,
        images=images,
        # libvirt gives the same places again.
        made_of=lambda _xml: "the same",
    )


def held(name: str) -> str:
    return next(file for file in DEFINITIONS if file.stem == name).read_text()


@cache
def adopt(name: str) -> Adopted:
    found = adopted(circumstances(held(name)))
    assert found.refusals == ()
    return found


def changes(here: Circumstances, found: Adopted, *, check_schema: bool = True) -> tuple[str, ...]:
    """What a define by the written spec would change."""
    files = SpecFiles(specs=(SpecFile(path="it.yaml", raw=found.spec.encode()),))
    (domain,) = resolve(check_files(files, here.settings), here.settings)
    fitted = fit(domain, here.capabilities)
    rendering = render_document(fitted.fitted, CLUSTER, SECRET, check_schema=check_schema)
    assert (fitted.problems, rendering.problems) == ((), ())
    assert rendering.document is not None
    edit = edit_definition(here.definition, rendering.document, None, DomainMark(uuid=domain.uuid, host="h"))
    # What the monitors are called comes from the cluster's map.
    own = [each for each in edit.differences if not each.is_of_monitors]
    # What libvirt's definition alone would hold is lost with it.
    held = with_own_monitors(here.definition, here.monitors, here.cluster.monitors)
    lost = unexpressed_xml(held, rendering.document, here.places).unexpressed if here.carries else ()
    return (*map(str, own), *edit.unclear, *(str(each.path) for each in lost))


@pytest.mark.parametrize("file", DEFINITIONS, ids=lambda file: file.stem)
def test_a_define_by_the_adopted_spec_changes_nothing(file: Path) -> None:
    found = adopt(file.stem)
    assert found.has_xml == bool(found.unexpressed) == ("xml: |\n" in found.spec)
    assert changes(circumstances(file.read_text()), found) == ()


@pytest.mark.parametrize("name", ["virt-install", "scsi-iotune"])
def test_it_changes_nothing_either_where_libvirt_can_say_more(name: str) -> None:
    here = circumstances(held(name), "libvirt=11.6,qemu=10.0")
    found = adopted(here)
    # Else virtrbd's own 64K would come.
    assert "discard_granularity: " in found.spec
    assert changes(here, found, check_schema=False) == ()


@pytest.mark.parametrize("name", ["hostdev", "tuned", "scsi-iotune"])
def test_without_xml_the_rest_stays_in_the_definition_alone(name: str) -> None:
    here = replace(circumstances(held(name)), carries=False)
    found = adopted(here)
    assert (found.refusals, found.has_xml) == ((), False)
    assert found.unexpressed != ()
    assert changes(here, found) == ()


MORE = (
    "<interface type='bridge'><mac address='52:54:00:00:00:1a'/><source bridge='br-z'/></interface>",
    "<interface type='network'><mac address='52:54:00:00:00:1b'/><source network='pool'/><model type='virtio'/>"
    "<teaming type='transient' persistent='ua-back'/></interface>",
    "<serial type='file'><source path='/x'/><target type='isa-serial' port='0'/></serial>",
    "<serial type='file'><source path='/x'/><target type='pci-serial' port='0'/></serial>",
    "<channel type='file'><source path='/x'/><target type='virtio' name='org.qemu.guest_agent.0'/></channel>",
    "<channel type='pty'><target type='guestfwd' address='10.0.2.1' port='4600'/></channel>",
    "<console type='pty'><target type='virtio' port='3'/></console>",
    "<rng model='virtio'><backend model='random'>/dev/random</backend></rng>",
    "<filesystem type='mount'><source dir='/a'/><target dir='t'/></filesystem>",
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(more=st.lists(st.sampled_from(MORE), min_size=1, max_size=3), carries=st.booleans())
def test_two_devices_of_one_key_are_adopted_without_loss_or_refused(more: list[str], carries: bool) -> None:
    definition = held("failover").replace("  </devices>", "".join(more) + "  </devices>")
    here = replace(circumstances(definition), carries=carries)
    found = adopted(here)
    alike = twins(Definition(definition)) if carries else ()
    assert [refusal.partition(",")[0] for refusal in found.refusals] == [
        f"it has several devices with the key {key.replace(':', ' ', 1)}" for key in alike
    ]
    if not alike:
        assert changes(here, found, check_schema=False) == ()


@pytest.mark.parametrize(
    "hosts",
    [
        "<host name='10.0.0.1' port='6789'/>",
        "<host name='10.0.0.1' port='3300'/><host name='mon-b'/>",
        "<host name='m'/>",
    ],
)
@pytest.mark.parametrize("carries", [True, False])
def test_monitors_are_no_part_of_a_spec_so_that_the_clusters_map_reaches_the_domain(hosts: str, carries: bool) -> None:
    definition = held("old-ide").replace("<host name='10.0.0.1'/>", hosts)
    found = adopted(replace(circumstances(definition), monitors=frozenset({"10.0.0.1", "m"}), carries=carries))
    assert (found.refusals, found.unexpressed, found.spec) == ((), (), adopt("old-ide").spec)


def test_a_disk_on_another_cluster_or_with_a_ceph_conf_of_its_own_keeps_its_monitors() -> None:
    def disk(hosts: str) -> str:
        return f'<disk><source protocol="rbd">{hosts}<config file="/c"/></source></disk>'

    def domain(*disks: str) -> str:
        return f"<domain><devices>{''.join(map(disk, disks))}</devices></domain>"

    other, ours = '<host name="192.0.2.1" port="6789"/>', '<host name="10.0.0.1" port="6790"/>'
    found = with_own_monitors(
        Definition(domain(ours, other, "")), {"10.0.0.1"}, [Monitor(address="10.0.0.1", port=3301)]
    )
    assert to_text(found.tree) == to_text(parse_tree(domain(ours.replace("6790", "3301"), other, "")))


def test_another_user_needs_xml() -> None:
    found = adopted(replace(circumstances(held("foreign-auth")), carries=False))
    assert "source/auth/@username: libvirt -> virtrbd" in found.refusals[0]


def test_says_what_a_spec_has_words_for_and_no_more() -> None:
    found = adopt("old-ide")
    assert found.unexpressed == ()
    assert found.spec == (
        "name: legacy\nuuid: 5eed0000-0000-4000-8000-000000000002\nmemory: 1G\nvcpus: 2\nmachine: pc-i440fx-5.2\n"
        "hypervisor: qemu\nclock: localtime\nfeatures:\n  pae: true\ndisks:\n  - bus: ide\n    image: "
        "vms/vm-104-disk-1\n    size: 20G\n    discard: default\n    boot: 1\ncdroms:\n  - target: hdc\ninterfaces:\n"
        "  - bridge: vmbr0\n    mac: de:ad:be:ef:00:01\n    model: e1000\n    boot: 2\ngraphics:\n  type: vnc\n"
        "  listen: 0.0.0.0\n  port: 5911\nvideo: cirrus\nserial_console: false\nguest_agent: false\nrng: false\n"
        "asset_tag: false\n"
    )


def test_a_mediated_device_needs_no_word_for_what_libvirt_adds() -> None:
    start, _, rest = held("hostdev").partition("    <hostdev mode='subsystem' type='usb'")
    mdev = (
        "    <hostdev mode='subsystem' type='mdev' managed='no' model='vfio-pci' display='off'>\n<source>"
        "<address uuid='9b5d3a7e-5f0b-4a3e-9c55-2f3b0a7c1d22'/></source>\n"
        "<address type='pci' domain='0x0000' bus='0x05' slot='0x00' function='0x0'/>\n</hostdev>"
    )
    definition = start + mdev + rest.partition("</hostdev>")[2]
    found = adopted(circumstances(definition))
    assert "hostdevs:\n  - mdev: 9b5d3a7e-5f0b-4a3e-9c55-2f3b0a7c1d22\n" in found.spec
    assert changes(circumstances(definition), found) == ()


@pytest.mark.parametrize("file", VALID, ids=lambda file: file.stem)
def test_says_every_word_of_a_valid_spec(file: Path) -> None:
    newest = "libvirt=12.8,qemu=11.1"
    trusting = Settings(host="kvm-1", ceph_configs=("/etc/ceph/guests.conf",))
    for domain in resolve(load([str(file)], trusting), trusting):
        capabilities = capabilities_by_hand(newest, domain.machine)
        document = render_document(fit(domain, capabilities).fitted, CLUSTER, SECRET, check_schema=False).document
        assert document is not None
        here = replace(circumstances(document.text, newest), settings=trusting, capabilities=capabilities)
        found = adopted(here)
        # A seed is virtrbd's own, and its drive only has this cache.
        seeds = [f"/devices/disk:{drive.target}/driver/@cache" for drive in domain.cdroms if drive.is_seed]
        assert (found.refusals, [str(each.path) for each in found.unexpressed]) == ((), seeds)


# What of each kind has no word, by path.
UNEXPRESSED = {
    "consoles": "/devices/serial:1 /devices/parallel /devices/console /devices/channel:org.qemu.guest_agent.0/source",
    "failover": "/devices/interface:hostdev:52:54:00:00:00:1a /devices/interface:52:54:00:00:00:1a/teaming "
    "/devices/interface:52:54:00:00:00:1a/alias /devices/console /devices/console#2 /devices/channel "
    "/devices/channel#2 /devices/hostdev /devices/rng#2",
    "file-disks": "/devices/disk:vdb /devices/disk:vdc /devices/disk:sda /devices/disk:fda",
    "foreign-auth": "/clock/@offset /clock/@adjustment /clock/@basis /devices/disk:vda/source/auth",
    "hostdev": "/features/hyperv/vpindex /features/hyperv/vendor_id /features/ioapic /devices/hostdev",
    "nets": "/devices/interface:52:54:00:00:00:c2/vlan /devices/interface:52:54:00:00:00:c2/virtualport "
    "/devices/interface:52:54:00:00:00:c4/bandwidth /devices/interface:52:54:00:00:00:c5 "
    "/devices/interface:52:54:00:00:00:c6",
    "old-ide": "",
    "scsi-iotune": "/iothreads /devices/disk:sdb/blockio /devices/disk:vda/driver/@queue_size "
    "/devices/controller:scsi:0/driver",
    "spice": "/devices/graphics#2 /devices/audio",
    "tuned": "/genid /blkiotune /memtune /sysinfo:smbios /os/smbios /seclabel:dac /qemu:commandline",
    "uefi-loader": "/os/loader /os/nvram",
    "uefi-tpm": "/devices/interface:52:54:00:00:00:31/source/@portgroup",
    "virt-install": "",
    "virtiofs": "/devices/filesystem:share/driver/@queue /devices/interface:52:54:00:00:00:81 /devices/shmem",
}


@pytest.mark.parametrize("file", DEFINITIONS, ids=lambda file: file.stem)
def test_names_what_a_spec_has_no_word_for_and_nothing_that_libvirt_adds(file: Path) -> None:
    found = adopt(file.stem)
    assert " ".join(str(each.path) for each in found.unexpressed) == UNEXPRESSED[file.stem], (
        f"tests/data/adopt/{file.stem}.xml: a field may say more now; take that out of UNEXPRESSED"
    )


def test_a_ceph_config_that_the_settings_do_not_list_is_refused_in_xml_as_well() -> None:
    """It can make QEMU run code, and a spec is not root's word."""
    here = circumstances(held("foreign-auth"))
    untrusting = Settings(host="kvm-1")
    (refusal,) = adopted(replace(here, settings=untrusting)).refusals
    assert "xml: /etc/ceph/libvirt.conf is not in the settings' ceph_configs" in refusal


def test_a_disk_that_no_spec_can_have_is_carried_with_the_reason() -> None:
    second = held("scsi-iotune").replace("10.0.0.1", "10.9.9.9", 1)
    here = circumstances(second)
    found = adopted(here)
    (disk,) = (each for each in found.unexpressed if each.path.device == "disk:sda")
    assert disk.why == "its monitors (10.9.9.9) are not this cluster's"
    assert changes(here, found) == ()


@pytest.mark.parametrize(
    ("name", "old", "new", "refusal"),
    [
        ("old-ide", "10.0.0.1", "10.9.9.9", "disk hda: its monitors (10.9.9.9) are not this cluster's"),
        ("old-ide", "protocol='rbd'", "protocol='nbd'", "it has no disk on RBD"),
        ("old-ide", "x86_64' m", "aarch64' m", "it is for aarch64, and specs have only the machines of x86_64"),
        ("old-ide", "type='qemu'>", "type='xen'>", "hypervisor: 'xen' is not known"),
        ("old-ide", "<auth username='virtrbd'>", "<nothing>", "/source/auth: absent -> "),
    ],
)
def test_what_can_have_no_spec_is_refused_with_the_reason(name: str, old: str, new: str, refusal: str) -> None:
    definition = held(name).replace(old, new)
    if new == "<nothing>":
        definition = definition.replace("</auth>", "</nothing>")
    found = adopted(circumstances(definition))
    assert found.spec == ""
    assert refusal in "\n".join(found.refusals)


def test_an_image_that_is_not_there_is_said() -> None:
    here = replace(circumstances(held("old-ide")), images={})
    assert adopted(here).refusals == ("disk hda: image vms/vm-104-disk-1 does not exist",)


def test_takes_back_what_settings_and_profiles_add() -> None:
    raw = (
        b"defaults:\n  watchdog: i6300esb\n  autostart: true\n  cpu: host-passthrough\n"
        b"  disk: {serial: x, cache: none}\n  interface: {mtu: 9000}\n"
    )
    here = circumstances(held("old-ide"))
    here = replace(here, settings=Settings(host="kvm-1", file="settings.yaml", raw=raw))
    found = adopted(here)
    assert found.refusals == ()
    for line in ("watchdog: null", "autostart: false", "cache: writeback", "serial: null", "mtu: null"):
        assert line in found.spec


def test_images_that_several_guests_use_are_not_claimed() -> None:
    assert "readonly: true" in adopt("scsi-iotune").spec
    shared = held("virtiofs").replace(
        "<driver name='qemu' type='raw'/>", "<driver name='qemu' type='raw' cache='none'/>"
    )
    shared = shared.replace("<target dev='vda' bus='virtio'/>", "<target dev='vda' bus='virtio'/><shareable/>")
    found = adopted(circumstances(shared))
    assert "existing: true" in found.spec
    assert "size:" not in found.spec
