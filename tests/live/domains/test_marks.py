"""Marks count only with the domain's UUID and the image's id in them: copies of either are not ours."""

import json
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator

import pytest
from support.lab import LabHost
from support.xml import at


def metadata(host: LabHost, image: str) -> dict[str, str]:
    return dict(json.loads(host.ok("rbd", "image-meta", "list", "--format", "json", image) or "{}"))


def copy_domain(host: LabHost, name: str, copy: str, change: Callable[[str], str] = lambda xml: xml) -> None:
    """dumpxml | change name and uuid | define: what people do to get a second domain."""
    xml = host.ok("virsh", "dumpxml", "--inactive", name)
    old = ET.fromstring(xml).findtext("uuid")
    xml = xml.replace(f"<name>{name}</name>", f"<name>{copy}</name>")
    xml = xml.replace(f"<uuid>{old}</uuid>", f"<uuid>{uuid.uuid4()}</uuid>")
    (host.folder / "copy.xml").write_text(change(xml))
    host.ok("virsh", "define", "copy.xml")
    assert "urn:virtrbd:domain:1" in host.ok("virsh", "dumpxml", "--inactive", copy), "the copy carries the mark"


def test_a_copied_domain_is_not_ours(host: LabHost, name: str) -> None:
    copy = f"{name}copy"
    host.ok("virtrbd", "define", host.spec(name, "disks:\n  - size: 16M\n"))
    copy_domain(host, name, copy)
    listed = {
        domain["name"]: domain for domain in json.loads(host.ok("virtrbd", "list", "--output", "json"))["domains"]
    }
    assert (listed[name]["owned"], listed[copy]["owned"]) == (True, False)
    [row] = [line.split() for line in host.ok("virtrbd", "list").splitlines() if line.startswith(copy)]
    assert row[-1] == "no"
    assert host.inspect(copy)["owned"] is False
    assert host.inspect(copy)["disks"][0]["owned"] is False
    done = host.virtrbd("undefine", copy, "--trash-images")
    assert (done.returncode, done.stderr) == (
        4, f"{copy}: is not virtrbd's; --allow takes-over undefines it anyway\n"
    )  # fmt: skip
    host.ok("virtrbd", "undefine", copy, "--trash-images", "--allow", "takes-over")
    assert f"{name}.vda" in host.ok("rbd", "ls", "vms").split(), "the image is the first domain's"
    assert host.inspect(name)["owned"] is True


def test_a_define_on_a_copied_domain_takes_over(host: LabHost, name: str) -> None:
    copy = f"{name}copy"
    host.ok("virtrbd", "define", host.spec(name, "disks:\n  - size: 16M\n"))
    copy_domain(host, name, copy, lambda xml: xml.replace(f"vms/{name}.vda", f"vms/{copy}.vda"))
    done = host.virtrbd("define", host.spec(copy, "disks:\n  - size: 16M\n"))
    assert done.returncode == 4
    assert "needs --allow takes-over" in done.stderr


def clone(host: LabHost, source: str, image: str) -> None:
    host.ok("rbd", "snap", "create", "--no-progress", f"{source}@s")
    host.ok("rbd", "clone", "--rbd-default-clone-format", "2", f"{source}@s", image)


def copy_image(host: LabHost, source: str, image: str) -> None:
    host.ok("rbd", "cp", "--no-progress", source, image)


@pytest.fixture
def tidy(host: LabHost, name: str) -> Iterator[None]:
    """Clones first, then their snapshots: the images go only in that order."""
    yield
    host.run("rbd", "rm", "--no-progress", f"vms/{name}.x", admin=True)
    host.run("rbd", "snap", "purge", "--no-progress", f"vms/{name}.vda", admin=True)


@pytest.mark.parametrize("duplicate", [clone, copy_image])
@pytest.mark.usefixtures("tidy")
def test_a_duplicate_of_an_owned_image_is_not_ours(
    host: LabHost, name: str, duplicate: Callable[[LabHost, str, str], None]
) -> None:
    host.ok("virtrbd", "define", host.spec(name, "disks:\n  - size: 16M\n"))
    duplicate(host, f"vms/{name}.vda", f"vms/{name}.x")
    assert "virtrbd.owner" in metadata(host, f"vms/{name}.x"), "it inherits the mark"
    assert (
        json.loads(host.ok("virtrbd", "image", "info", f"vms/{name}.x", "--output", "json"))["image"]["owner"] is None
    )

    done = host.virtrbd("define", host.spec(name, f"disks:\n  - size: 16M\n  - {{size: 16M, image: vms/{name}.x}}\n"))
    assert done.returncode == 4
    assert "belongs to no domain that virtrbd knows): needs --allow takes-over" in done.stderr
    assert len(host.inspect(name)["disks"]) == 1

    # In the very domain whose UUID the inherited mark names: the image's id is what tells them apart.
    disk = at(ET.fromstring(host.ok("virsh", "dumpxml", "--inactive", name)), "devices/disk")
    at(disk, "source").set("name", f"vms/{name}.x")
    at(disk, "target").set("dev", "vdb")
    disk.remove(at(disk, "address"))
    (host.folder / "disk.xml").write_text(ET.tostring(disk, encoding="unicode"))
    host.ok("virsh", "attach-device", name, "disk.xml", "--config")
    assert [disk["owned"] for disk in host.inspect(name)["disks"]] == [True, False]
    host.ok("rbd", "snap", "purge", "--no-progress", f"vms/{name}.vda")
    done = host.virtrbd("undefine", name, "--trash-images", "--allow", "loses-data")
    assert f"{name}.x" in host.ok("rbd", "ls", "vms").split()
    assert f"{name}.x" not in done.stdout


@pytest.mark.usefixtures("tidy")
def test_a_taken_over_duplicate_is_freed_from_what_it_inherited(host: LabHost, name: str) -> None:
    host.ok("virtrbd", "define", host.spec(name, "disks:\n  - size: 16M\n"))
    host.ok("rbd", "config", "image", "set", f"vms/{name}.vda", "rbd_cache", "false")
    copy_image(host, f"vms/{name}.vda", f"vms/{name}.x")
    other = host.spec(f"{name}b", f"disks:\n  - {{size: 16M, image: vms/{name}.x}}\n")
    assert host.virtrbd("define", other).returncode == 4
    done = host.virtrbd("define", other, "--allow", "takes-over")
    assert done.returncode == 0
    assert f"image vms/{name}.x: not taken over from its parent: rbd_cache=false" in done.stderr
    assert list(metadata(host, f"vms/{name}.x")) == ["virtrbd.owner"]
    assert host.inspect(f"{name}b")["disks"][0]["owned"] is True


def test_a_clone_inherits_neither_settings_nor_marks(host: LabHost, name: str) -> None:
    golden = f"golden/{name}"
    host.ok("rbd", "create", "--size", "16M", golden)
    try:
        host.ok("rbd", "config", "image", "set", golden, "rbd_cache", "false")
        host.ok("rbd", "image-meta", "set", golden, "virtrbd.running", '{"host": "x", "image": "y"}')
        host.ok("rbd", "image-meta", "set", golden, "colour", "blue")
        host.ok("virtrbd", "image", "snapshot", "create", f"{golden}@v1", "--protect")
        done = host.virtrbd("define", host.spec(name, f"disks:\n  - clone: {golden}@v1\n"))
        assert done.returncode == 0
        assert done.stderr == f"image vms/{name}.vda: not taken over from its parent: rbd_cache=false\n"
        held = metadata(host, f"vms/{name}.vda")
        assert sorted(held) == ["colour", "virtrbd.owner"]
        owner = json.loads(held["virtrbd.owner"])
        assert owner["domain"] == host.inspect(name)["uuid"]
        assert owner["host_name"] == "kvm-1"
        assert owner["image"] == json.loads(host.ok("rbd", "info", "--format", "json", f"vms/{name}.vda"))["id"]
        host.ok("virtrbd", "undefine", name)
    finally:
        host.run("rbd", "rm", "--no-progress", f"vms/{name}.vda", admin=True)
        host.run("rbd", "snap", "unprotect", f"{golden}@v1", admin=True)
        host.run("rbd", "snap", "purge", "--no-progress", golden, admin=True)
        host.run("rbd", "rm", "--no-progress", golden, admin=True)


def test_a_mark_without_the_hosts_name_still_counts(host: LabHost, name: str) -> None:
    image, spec = f"vms/{name}.vda", host.spec(name, "disks:\n  - size: 16M\n")
    host.ok("virtrbd", "define", spec)
    old = json.loads(metadata(host, image)["virtrbd.owner"])
    del old["host_name"]
    host.ok("rbd", "image-meta", "set", image, "virtrbd.owner", json.dumps(old))
    assert host.virtrbd("plan", spec).returncode == 0, "nothing is to be done about it"
    host.ok("virtrbd", "define", spec)
    assert json.loads(metadata(host, image)["virtrbd.owner"]) == old
    assert f"owner      domain {name} of host {old['host']}\n" in host.ok("virtrbd", "image", "info", image)
    host.ok("virtrbd", "undefine", name, "--trash-images", "--allow", "loses-data")


def test_an_older_dump_defined_again_is_not_ours_and_says_so(host: LabHost, name: str) -> None:
    """`virsh define` of a file without our element drops it: nothing is done to that domain silently."""
    spec = host.spec(name, "disks:\n  - size: 16M\n")
    host.ok("virtrbd", "define", spec)
    root = ET.fromstring(host.ok("virsh", "dumpxml", "--inactive", name))
    root.remove(at(root, "metadata"))
    (host.folder / "old.xml").write_text(ET.tostring(root, encoding="unicode"))
    host.ok("virsh", "define", "old.xml")
    assert host.inspect(name)["owned"] is False
    assert "needs --allow takes-over" in host.virtrbd("define", spec).stderr
    host.ok("virtrbd", "define", spec, "--allow", "takes-over")
    assert host.inspect(name)["owned"] is True
