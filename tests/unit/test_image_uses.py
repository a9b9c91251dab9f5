"""Every way in which a domain's XML names an image is seen; what cannot be read is reported, not taken for nothing."""

import json
from xml.sax import saxutils

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from virtrbd.domainxml.document import Document
from virtrbd.domainxml.image_uses import WrittenSources, images_elsewhere, named_images, sources_written, written_images
from virtrbd.domainxml.parsing import FORBIDDEN
from virtrbd.domainxml.qemu_arguments import images_in_argument
from virtrbd.domainxml.tree import parse_tree
from virtrbd.engine.start_gate import beyond_mappings
from virtrbd.model.image import ImageRef, Watcher
from virtrbd.model.image_use import ImageUse, NamedDevice, NamedImages, NamedVolume, Role, Unread

GOLD = ImageRef(pool="vms", name="gold")
SPACED = ImageRef(pool="vms", namespace="ns", name="gold", snapshot="v1")
QEMU = "xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'"


def named(inside: str) -> NamedImages:
    return named_images(parse_tree(f"<domain {QEMU}><name>web</name>{inside}</domain>"))


def uses(inside: str) -> list[tuple[str, Role, str]]:
    found = named(inside)
    assert (found.volumes, found.devices, found.unread) == ((), (), ())
    return [(str(use.ref), use.role, use.place) for use in found.images]


def disk(inside: str, of: str = "network") -> str:
    return f"<devices><disk type='{of}' device='disk'>{inside}<target dev='vda'/></disk></devices>"


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        (disk("<source protocol='rbd' name='vms/gold'/>"), ("vms/gold", Role.DISK, "disk vda")),
        (disk("<source protocol='rbd' name='vms/ns/gold'/>"), ("vms/ns/gold", Role.DISK, "disk vda")),
        (
            disk("<source protocol='rbd' name='vms/gold'><host name='m'/><snapshot name='v1'/></source>"),
            ("vms/gold@v1", Role.DISK, "disk vda"),
        ),
        (
            disk(
                "<source file='/srv/over.qcow2'/><backingStore type='file'><source file='/srv/mid.qcow2'/>"
                "<backingStore type='network'><source protocol='rbd' name='vms/gold'/></backingStore></backingStore>",
                of="file",
            ),
            ("vms/gold", Role.BASE, "disk vda"),
        ),
        (
            disk("<source file='/x'/><mirror type='network'><source protocol='rbd' name='vms/gold'/></mirror>", "file"),
            ("vms/gold", Role.COPY, "disk vda"),
        ),
        (disk("<source dev='/dev/rbd/vms/gold'/>", of="block"), ("vms/gold", Role.DISK, "disk vda")),
        (disk("<source file='/dev/rbd/vms/ns/gold'/>", of="file"), ("vms/ns/gold", Role.DISK, "disk vda")),
        (disk("<source dev='/dev/rbd/vms/gold@v1'/>", of="block"), ("vms/gold@v1", Role.DISK, "disk vda")),
        (
            "<os><nvram type='network'><source protocol='rbd' name='vms/gold'/></nvram></os>",
            ("vms/gold", Role.STATE, "NVRAM"),
        ),
        (
            "<devices><tpm><backend type='emulator'><source type='file' path='/dev/rbd/vms/gold'/></backend></tpm>"
            "</devices>",
            ("vms/gold", Role.STATE, "tpm"),
        ),
        (
            "<devices><hostdev mode='capabilities' type='storage'><source><block>/dev/rbd/vms/gold</block></source>"
            "</hostdev></devices>",
            ("vms/gold", Role.OTHER, "hostdev"),
        ),
        (
            "<devices><filesystem type='block'><source dev='/dev/rbd/vms/gold'/><target dir='/'/></filesystem>"
            "</devices>",
            ("vms/gold", Role.OTHER, "filesystem /"),
        ),
    ],
)
def test_an_image_is_seen_wherever_it_is_named(inside: str, expected: tuple[str, Role, str]) -> None:
    assert uses(inside) == [expected]


def test_options_behind_a_colon_hide_no_image() -> None:
    refs = [ref for ref, _, _ in uses(disk("<source protocol='rbd' name='vms/gold:rbd_cache=false'/>"))]
    assert "vms/gold" in refs


def test_a_partition_may_be_an_image_of_that_name() -> None:
    refs = [ref for ref, _, _ in uses(disk("<source dev='/dev/rbd/vms/gold-part1'/>", of="block"))]
    assert refs == ["vms/gold", "vms/gold-part1"]


def test_what_only_libvirt_or_the_kernel_knows_is_handed_on() -> None:
    found = named(
        disk("<source pool='ceph' volume='gold'/>", of="volume")
        + "<devices><disk type='block'><source dev='/dev/rbd7p1'/><target dev='vdb'/></disk></devices>"
    )
    assert found.volumes == (NamedVolume(pool="ceph", volume="gold", role=Role.DISK, place="disk vda"),)
    assert found.devices == (NamedDevice(path="/dev/rbd7p1", role=Role.DISK, place="disk vdb"),)


@pytest.mark.parametrize(
    "text",
    [
        "<title>rbd:vms/gold</title><description>/dev/rbd/vms/gold</description>",
        "<metadata><x xmlns='urn:x' protocol='rbd' name='vms/gold'/></metadata>",
        disk("<source file='/srv/gold.qcow2'/>", of="file"),
    ],
)
def test_what_starts_no_qemu_names_no_image(text: str) -> None:
    assert named(text) == NamedImages()


def _arguments(*values: str) -> str:
    args = "".join(
        etree.tostring(etree.Element("arg", value=value)).decode().replace("<arg", "<qemu:arg") for value in values
    )
    return f"<qemu:commandline>{args}</qemu:commandline>"


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("file=rbd:vms/gold,if=virtio", GOLD),
        ("if=virtio,file=rbd:vms/gold:id=x:conf=/etc/ceph/c.conf", GOLD),
        ("rbd:vms/ns/gold@v1:id=x", SPACED),
        (r"file=rbd:vms/a\:b", ImageRef(pool="vms", name="a:b")),
        ("file=rbd:vms/a,,b", ImageRef(pool="vms", name="a,b")),
        ("driver=rbd,node-name=n,pool=vms,namespace=ns,image=gold,snapshot=v1", SPACED),
        ("driver=raw,file.driver=rbd,file.pool=vms,file.image=gold", GOLD),
        ('{"driver":"raw","file":{"driver":"rbd","pool":"vms","image":"gold"}}', GOLD),
        ('file=json:{"driver":"rbd",,"pool":"vms",,"image":"gold"}', GOLD),
        ('{"file.filename":"rbd:vms/gold:id=x"}', GOLD),
        ("file=/dev/rbd/vms/gold,format=raw", GOLD),
    ],
)
def test_arguments_of_qemu_are_read(argument: str, expected: ImageRef) -> None:
    found = named(_arguments("-drive", argument))
    assert found.unread == ()
    assert found.images == (ImageUse(ref=expected, role=Role.OTHER, place="an argument of QEMU"),)


@pytest.mark.parametrize(
    "argument",
    [
        "file=rbd:",
        "driver=rbd,server.0.host=x",
        "fat:rw:/mnt/rbd-vms",
        '{"driver":"rbd"',
        "file.driver=rbd",
    ],
)
def test_an_argument_that_speaks_of_rbd_and_cannot_be_read_is_unread(argument: str) -> None:
    assert named(_arguments(argument)).unread == (Unread(what=f"an argument of QEMU: {argument}"),)


def test_what_qemu_reads_from_a_file_is_unread() -> None:
    assert named(_arguments("-readconfig", "/etc/x.cfg")).unread == (Unread(what="an argument of QEMU: -readconfig"),)


def test_a_source_without_a_name_is_unread() -> None:
    assert named(disk("<source protocol='rbd'/>")).unread == (
        Unread(what="disk vda: a source on RBD without an image's name"),
    )


WORD = st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=9)

NAMINGS = (
    "<devices><disk type='network'><source protocol='rbd' name={name}/></disk></devices>",
    "<devices><disk type='network'><source name={name} protocol='rbd'/></disk></devices>",
    '<os><nvram type="network"><source protocol="rbd" name={name}/></nvram></os>',
    "<devices><disk type='volume'><source pool='p' volume={name}/></disk></devices>",
    "<devices><disk type='block'><source dev={device}/></disk></devices>",
    "<devices><hostdev><source><block>/dev/sdb</block></source></hostdev></devices>",
    "<qemu:commandline><qemu:arg value={filename}/></qemu:commandline>",
    "<qemu:commandline><qemu:arg value={json}/></qemu:commandline>",
    "<qemu:commandline><qemu:arg value='-readconfig'/></qemu:commandline>",
    "<devices><rng><backend model='random'>/dev/urandom</backend></rng></devices>",
    "<devices><console tty='/dev/pts/3'><source path='/dev/pts/3'/></console></devices>",
)


@given(st.data())
def test_no_look_at_the_text_alone_misses_what_the_tree_names(data: st.DataObject) -> None:
    """Only where the text says so is a domain parsed at all when plans are made."""
    word = WORD.filter(lambda text: not FORBIDDEN.search(text) and text.isprintable())
    ref = data.draw(st.builds(ImageRef, pool=word, namespace=st.just("") | word, name=word))
    name = f"{ref.pool}/{ref.path}"
    node = json.dumps({"driver": "rbd", "pool": ref.pool, "image": ref.name}).replace("rbd", r"\u0072bd")
    values = {"name": name, "device": f"/dev/rbd/{name}", "filename": f"rbd:{name}", "json": node}
    quoted = {key: saxutils.quoteattr(value) for key, value in values.items()}
    inside = "".join(each.format(**quoted) for each in data.draw(st.lists(st.sampled_from(NAMINGS), max_size=3)))
    xml = f"<domain {QEMU}>{inside}</domain>"
    found = named_images(parse_tree(xml))
    if Document(xml).may_name_more:
        return
    assert (found.volumes, found.unread) == ((), ())
    assert {device.path for device in found.devices} <= {"/dev/urandom", "/dev/pts/3"}
    assert {f"{use.ref.pool}/{use.ref.path}" for use in found.images} <= Document(xml).sources


def _kept(text: str) -> str:
    return "".join(f"\\{char}" if char in "\\:@/" else char for char in text)


@given(st.builds(ImageRef, pool=WORD, namespace=WORD, name=WORD, snapshot=WORD))
def test_every_name_that_qemu_can_be_given_is_read_back(ref: ImageRef) -> None:
    node = {"driver": "rbd", "pool": ref.pool, "namespace": ref.namespace, "image": ref.name, "snapshot": ref.snapshot}
    assert images_in_argument(json.dumps(node)).images == (ref,)
    filename = f"rbd:{_kept(ref.pool)}/{_kept(ref.namespace)}/{_kept(ref.name)}@{_kept(ref.snapshot)}:id=x"
    assert images_in_argument("file=" + filename.replace(",", ",,")).images == (ref,)


@given(st.text())
def test_any_argument_is_read_or_unread(argument: str) -> None:
    found = images_in_argument(argument)
    assert found.is_read or not found.images


def test_what_names_other_monitors_by_address_is_elsewhere() -> None:
    """A name that is no address may lead to a monitor of this one."""

    def disk(target: str, *hosts: str) -> str:
        named = "".join(f"<host name='{host}'/>" for host in hosts)
        source = f"<source protocol='rbd' name='vms/{target}'>{named}</source>"
        return f"<disk type='network' device='disk'>{source}<target dev='{target}'/></disk>"

    disks = disk("a"), disk("b", "10.0.0.1"), disk("c", "10.9.9.9"), disk("d", "10.9.9.9", "mon"), disk("e", "::9")
    nvram = (
        "<os><nvram type='network'><source protocol='rbd' name='vms/n'><host name='10.9.9.9'/></source></nvram></os>"
    )
    root = parse_tree(f"<domain>{nvram}<devices>{''.join(disks)}</devices></domain>")
    assert sorted(ref.name for ref in images_elsewhere(root, {"10.0.0.1"})) == ["c", "e", "n"]
    spelled = parse_tree(
        f"<domain><devices>{disk('a', 'FD00:0:0::1')}{disk('b', '::ffff:10.0.0.1')}</devices></domain>"
    )
    assert images_elsewhere(spelled, {"fd00::1", "10.0.0.1"}) == frozenset()
    both = parse_tree(f"<domain><devices>{disk('c', '10.9.9.9')}{disk('c')}</devices></domain>")
    assert images_elsewhere(both, {"10.0.0.1"}) == frozenset(), "one of its disks may be this cluster's"
    assert [ref.name for ref in written_images(root)] == ["a", "b", "c", "d", "e", "n"]


def test_volumes_and_devices_that_are_written_are_told_from_those_that_are_read() -> None:
    drive = "<disk{kind}>{source}{more}<target dev='{target}'/></disk>"
    volume, device = "<source pool='p' volume='web.vda'/>", "<source dev='/dev/rbd0'/>"
    drives = (
        drive.format(kind="", source=volume, more="", target="vda"),
        drive.format(kind="", source=device, more="", target="vdb"),
        drive.format(kind="", source="<source file='/srv/x'/>", more="", target="vdc"),
        drive.format(kind=" device='cdrom'", source=device.replace("0", "1"), more="", target="sda"),
        drive.format(kind="", source=volume.replace("web", "gold"), more="<readonly/>", target="vdd"),
    )
    nvram = "<os><nvram type='block'><source dev='/dev/rbd2'/></nvram></os>"
    root = parse_tree(f"<domain>{nvram}<devices>{''.join(drives)}</devices></domain>")
    web = NamedVolume(pool="p", volume="web.vda", role=Role.DISK, place="disk vda")
    assert sources_written(root) == WrittenSources(volumes=(web,), devices=("/dev/rbd0", "/dev/rbd2"))
    assert sources_written(root, "disk:vda") == WrittenSources(volumes=(web,))
    assert sources_written(root, "disk:vdb") == WrittenSources(devices=("/dev/rbd0",))


def test_only_the_one_client_of_this_host_goes_for_the_kernels_of_a_mapped_image() -> None:
    here, also_here = (Watcher(address=f"v1:10.0.0.1:0/{n}", client_id=n) for n in (1, 2))
    elsewhere = Watcher(address="10.0.0.2:0/3", client_id=3)
    cases: tuple[tuple[tuple[Watcher, ...], tuple[Watcher, ...]], ...] = (
        ((), ()), ((here,), ()), ((here, also_here), (here, also_here)), ((elsewhere,), (elsewhere,)),
        ((here, elsewhere), (elsewhere,)),
    )  # fmt: skip
    for watchers, beyond in cases:
        found = {GOLD: watchers}
        assert beyond_mappings(found, {GOLD}, "v2:10.0.0.1:0/9").get(GOLD, ()) == beyond
        # Of an image that is not mapped each is another's.
        assert beyond_mappings(found, (), "v2:10.0.0.1:0/9").get(GOLD, ()) == watchers
