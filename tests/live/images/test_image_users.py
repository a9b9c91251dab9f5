"""Who uses an image: however a domain names one, the image, its snapshot or what lies below it stays as it is."""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import rbd
from support.worlds import MIB, LabWorld

from virtrbd.ceph.cluster import Cluster
from virtrbd.domainxml.tree import parse_tree
from virtrbd.images.mapped import SourceImages, images_of_sources
from virtrbd.specs.settings import load_settings

QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"
# How a domain names image `vms/{name}`, and what a refusal calls that.
NAMINGS = {
    "a disk": ("<disk type='network'><source protocol='rbd' name='vms/{name}'/><target dev='vda'/></disk>", "disk vda"),
    "a base": (
        "<disk type='file'><driver name='qemu' type='qcow2'/><source file='/nowhere/over.qcow2'/>"
        "<backingStore type='network'><format type='raw'/><source protocol='rbd' name='vms/{name}'/></backingStore>"
        "<target dev='vda'/></disk>",
        "backing file of disk vda",
    ),
    "a device": (
        "<disk type='block'><source dev='/dev/rbd/vms/{name}'/><target dev='vda'/></disk>", "disk vda"
    ),
    "an argument": ("<qemu:arg value='file=rbd:vms/{name},if=virtio'/>", "an argument of QEMU"),
    "NVRAM": ("<nvram type='network'><source protocol='rbd' name='vms/{name}'/></nvram>", "NVRAM"),
}  # fmt: skip


@pytest.fixture
def image(world: LabWorld, name: str) -> Iterator[str]:
    """An image with a snapshot v1."""
    rbd.RBD().create(world.vms, name, 16 * MIB)
    with rbd.Image(world.vms, name) as opened:
        opened.create_snap("v1")
    yield f"vms/{name}"
    with suppress(rbd.ImageNotFound), rbd.Image(world.vms, name) as opened:
        opened.remove_snap("v1")


def define(world: LabWorld, name: str, inside: str) -> None:
    """Define a domain as others do, which names the image."""
    device, argument, nvram = inside, "", ""
    if inside.startswith("<qemu:arg"):
        device, argument = "", f"<qemu:commandline><qemu:arg value='-drive'/>{inside}</qemu:commandline>"
    if inside.startswith("<nvram"):
        loader = "<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>"
        device, nvram = "", loader + inside
    world.libvirt.defineXML(
        f"<domain type='qemu' xmlns:qemu='{QEMU}'><name>{name}</name><memory>65536</memory>"
        f"<os><type machine='q35'>hvm</type>{nvram}</os><features><acpi/></features><devices>{device}</devices>"
        f"{argument}</domain>"
    )


def changes_of(image: str) -> list[tuple[str, ...]]:
    return [
        ("image", "remove", image),
        ("image", "remove", "--now", "--clear", "--allow", "loses-data,takes-over", image),
    ]


@pytest.mark.parametrize("naming", NAMINGS)
def test_an_image_that_a_domain_names_in_any_way_is_not_removed(
    world: LabWorld, name: str, image: str, naming: str
) -> None:
    xml, how = NAMINGS[naming]
    define(world, name, xml.format(name=name))
    spec = world.host.spec(f"{name}2", f"disks:\n  - {{image: {image}, existing: true}}\n")
    done = world.virtrbd("plan", spec)
    assert done.returncode == 65, done
    assert f"image {image} is already {'written by' if how == 'disk vda' else f'{how} of'} domain {name}" in done.stdout
    for words in changes_of(image):
        done = world.virtrbd(*words)
        assert done.returncode == 5, done
        assert f"domain {name} has it as " in done.stdout + done.stderr
        assert how in done.stdout + done.stderr
    assert world.image(name)["size_bytes"] == 16 * MIB
    world.libvirt.lookupByName(name).undefineFlags(0)
    world.ok("image", "remove", "--now", "--clear", "--allow", "loses-data", image)


def test_what_an_overlay_is_built_on_is_neither_grown_nor_rolled_back(world: LabWorld, name: str, image: str) -> None:
    define(world, name, NAMINGS["a base"][0].format(name=name))
    for words in (("resize", image, "32M"), ("snapshot", "rollback", f"{image}@v1", "--allow", "loses-data")):
        done = world.virtrbd("image", *words)
        assert done.returncode == 5, done
        assert f"domain {name} has it as the backing file of disk vda" in done.stderr
    assert world.image(name)["size_bytes"] == 16 * MIB


@pytest.mark.alone
def test_an_argument_that_cannot_be_read_asks_first(world: LabWorld, name: str, image: str) -> None:
    define(world, name, "<qemu:arg value='driver=rbd,server.0.host=10.0.0.1'/>")
    done = world.virtrbd("image", "remove", image)
    assert done.returncode == 4, done
    assert f"domain {name} may use it: virtrbd cannot read an argument of QEMU: driver=rbd" in done.stdout
    world.libvirt.lookupByName(name).undefineFlags(0)


def on_snapshot(world: LabWorld, name: str) -> tuple[str, str]:
    """Return an image and the XML of a domain that has its snapshot v1 as its disk, and can start."""
    world.ok("define", world.host.spec(name, "disks:\n  - size: 16M\n"))
    image = f"vms/{name}.vda"
    world.ok("image", "snapshot", "create", f"{image}@v1")
    xml = world.libvirt.lookupByName(name).XMLDesc()
    head, tail = xml.split("</source>", 1)
    return image, f"{head}<snapshot name='v1'/></source><readonly/>{tail}"


def refused(world: LabWorld, name: str, image: str, state: str) -> None:
    for more in ((), ("--clear",), ("--clear", "--allow", "takes-over,loses-data")):
        done = world.virtrbd("image", "snapshot", "remove", f"{image}@v1", *more)
        assert done.returncode == 5, done
        assert f"domain {name}, {state}, has {image}@v1 as disk vda" in done.stdout, done
    with rbd.Image(world.vms, image.removeprefix("vms/")) as opened:
        assert [each["name"] for each in opened.list_snaps()] == ["v1"]


def test_the_snapshot_that_a_guest_runs_on_is_kept_while_it_runs_is_saved_and_is_off(
    world: LabWorld, name: str
) -> None:
    image, xml = on_snapshot(world, name)
    domain = world.libvirt.defineXML(xml)
    refused(world, name, image, "shut off")
    domain.create()
    refused(world, name, image, "running")
    domain.managedSave()
    refused(world, name, image, "saved")
    domain.managedSaveRemove()
    domain.undefine()
    world.ok("image", "snapshot", "remove", f"{image}@v1")


def test_the_snapshot_of_a_guest_s_live_disk_alone_is_kept(world: LabWorld, name: str) -> None:
    image, xml = on_snapshot(world, name)
    without_disk = re.sub(r"<disk .*?</disk>", "", xml, flags=re.DOTALL)
    domain = world.libvirt.defineXML(xml)
    domain.create()
    world.libvirt.defineXML(without_disk)
    refused(world, name, image, "running")
    domain.managedSave()
    refused(world, name, image, "saved")
    domain.managedSaveRemove()
    world.ok("image", "snapshot", "remove", f"{image}@v1")


def held(world: LabWorld, *words: str, by: str, code: int = 5) -> None:
    done = world.virtrbd(*words)
    assert done.returncode == code, done
    assert by in done.stdout + done.stderr, done
    assert "read-only image" not in done.stdout + done.stderr, done


def test_an_image_that_is_locked_is_neither_started_on_nor_changed_and_its_holder_is_named(
    world: LabWorld, name: str
) -> None:
    spec = world.host.spec(name, "disks:\n  - size: 16M\n")
    world.ok("define", spec)
    image, base = f"vms/{name}.vda", f"{name}base"
    world.ok("image", "snapshot", "create", f"{image}@v1")
    rbd.RBD().create(world.vms, base, 8 * MIB, old_format=False)
    with rbd.Image(world.vms, base) as opened:
        opened.create_snap("v1")
        opened.protect_snap("v1")
    rbd.RBD().clone(world.vms, base, "v1", world.vms, f"{name}clone")
    world.host.spec(name, "disks:\n  - size: 32M\n")
    with rbd.Image(world.vms, f"{name}.vda") as disk, rbd.Image(world.vms, f"{name}clone") as clone:
        disk.lock_exclusive("backup")
        clone.lock_shared("reader", "tag")
        [(client, _, _)] = disk.list_lockers()["lockers"]
    by = f"{client} at 127.0.0.1:0 holds the lock 'backup' on it"
    for words in (
        ("start", name),
        ("apply", spec),
        ("image", "resize", image, "32M"),
        ("image", "snapshot", "create", f"{image}@v2"),
        ("image", "snapshot", "remove", "--clear", f"{image}@v1"),
        ("image", "snapshot", "rollback", f"{image}@v1", "--allow", "loses-data"),
        ("image", "remove", image),
    ):
        held(world, *words, by=by)
    held(world, "image", "flatten", f"vms/{name}clone", by="holds the lock 'reader' on it")
    assert world.image(f"{name}clone")["flags"] == [], "a flatten that is refused leaves the object map valid"
    verdicts = {each["name"]: each["verdict"] for each in world.document("image", "unreferenced", "vms")["images"]}
    assert verdicts[f"vms/{name}clone"] == "locked"
    assert not world.libvirt.lookupByName(name).isActive()
    with rbd.Image(world.vms, f"{name}.vda") as disk, rbd.Image(world.vms, f"{name}clone") as clone:
        disk.unlock("backup")
        clone.unlock("reader")
    world.ok("start", name)
    world.ok("image", "flatten", f"vms/{name}clone")
    with rbd.Image(world.vms, base) as opened:
        opened.unprotect_snap("v1")
        opened.remove_snap("v1")


def test_what_a_group_or_a_migration_holds_is_named_with_the_way_out(world: LabWorld, name: str, image: str) -> None:
    pool, group, moved = world.vms, f"{name}group", f"{name}moved"
    rbd.RBD().group_create(pool, group)
    rbd.Group(pool, group).add_image(pool, name)
    rbd.Group(pool, group).create_snap("g1")
    [snapshot] = [
        each for each in world.document("image", "snapshot", "list", image)["snapshots"] if "g1" in each["label"]
    ]
    way_out = f"rbd group snap remove vms/{group}@g1"
    of_group = f"{image}@{snapshot['name']}"
    held(world, "image", "snapshot", "remove", of_group, by=way_out)
    held(world, "image", "snapshot", "rollback", of_group, "--allow", "loses-data", by=way_out)
    held(world, "image", "clone", of_group, f"vms/{moved}", by=way_out)
    held(world, "image", "snapshot", "create", of_group, by="is a snapshot that a group")
    held(world, "image", "remove", image, by=f"rbd group image remove vms/{group} {image}")
    rbd.Group(pool, group).remove_snap("g1")
    rbd.Group(pool, group).remove_image(pool, name)
    rbd.RBD().group_remove(pool, group)

    with rbd.Image(pool, name) as opened:
        opened.remove_snap("v1")
    define(world, name, NAMINGS["a disk"][0].format(name=name))
    rbd.RBD().migration_prepare(pool, name, pool, moved)
    try:
        away = f"is being migrated to vms/{moved}"
        for words in (("info",), ("resize", image, "32M"), ("remove",), ("restore",), ("export", image, "x")):
            held(world, "image", words[0], *(words[1:] or (image,)), by=away)
        held(world, "image", "resize", f"vms/{moved}", "32M", by=f"rbd migration execute vms/{moved}")
        held(world, "start", name, by=f"image {image} does not exist; see whether it is in the trash")
        listed = {each["name"]: each for each in world.document("image", "unreferenced", "vms")["images"]}
        assert image not in listed
        assert listed[f"vms/{moved}"]["verdict"] == "being migrated"
    finally:
        rbd.RBD().migration_abort(pool, moved)


def test_the_guest_of_an_encrypted_image_is_told_of_its_growth(world: LabWorld, name: str) -> None:
    world.ok("image", "create", f"vms/{name}", "32M")
    with rbd.Image(world.vms, name) as opened:
        opened.encryption_format(rbd.RBD_ENCRYPTION_FORMAT_LUKS2, "secret")
    usage = f"<usage type='volume'><volume>{name}</volume></usage>"
    secret = world.libvirt.secretDefineXML(f"<secret ephemeral='yes' private='yes'>{usage}</secret>")
    try:
        secret.setValue(b"secret")
        world.ok("define", world.host.spec(f"{name}x", "disks:\n  - size: 8M\n"))
        xml = world.libvirt.lookupByName(f"{name}x").XMLDesc()
        xml = re.sub(r"<uuid>.*?</uuid>|<metadata>.*?</metadata>", "", xml, flags=re.DOTALL, count=2)
        xml = xml.replace(f"<name>{name}x", f"<name>{name}").replace(f"vms/{name}x.vda", f"vms/{name}")
        key = f"<secret type='passphrase' uuid='{secret.UUIDString()}'/>"
        xml = xml.replace("</disk>", f"<encryption format='luks2' engine='librbd'>{key}</encryption></disk>", 1)
        domain = world.libvirt.defineXML(xml)
        domain.create()
        before = domain.blockInfo("vda")[0]
        assert "sees the new size" in world.ok("image", "resize", f"vms/{name}", "48M")
        assert domain.blockInfo("vda")[0] == before + 16 * MIB
        with rbd.Image(world.vms, name, read_only=True) as opened:
            assert opened.size() == 48 * MIB
        assert "is 48 MiB already" in world.ok("image", "resize", f"vms/{name}", "48M")
    finally:
        secret.undefine()


def test_the_image_behind_a_volume_goes_through_the_gate_where_it_is_here(lab: Path, name: str, image: str) -> None:
    disks = "<disk type='volume'><source pool='{}' volume='{}'/><target dev='{}'/></disk>"
    named = (("here", name, "vda"), ("here", "elsewhere", "vdb"), ("gone", name, "vdc"), ("files", name, "vdd"))
    tree = parse_tree(f"<domain><devices>{''.join(disks.format(*each) for each in named)}</devices></domain>")
    pools = {"here": "vms", "gone": "a pool of another cluster", "files": ""}
    with Cluster.connect(load_settings(f"{lab}/hosts/kvm-1/virtrbd.yaml")) as cluster:
        found = images_of_sources(tree, cluster, pools.get)
        assert ([*map(str, found.volumes)], found.mapped) == ([image], ())
        assert images_of_sources(tree, cluster, pools.get, "disk:vdb") == SourceImages()
