"""What bad input gets that only a real host can tell: the message, the exit code, and nothing changed."""

import json
import xml.etree.ElementTree as ET

import pytest
from support.lab import LabHost
from support.xml import at


def defined(host: LabHost) -> set[str]:
    return set(host.ok("virsh", "list", "--all", "--name").split())


def images(host: LabHost, name: str) -> set[str]:
    return {image for image in host.ok("rbd", "ls", "vms").split() if image.startswith(name)}


def refused(host: LabHost, code: int, *words: str) -> str:
    """Run virtrbd, which must refuse with this code and without a traceback; return what it said."""
    done = host.virtrbd(*words)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_an_image_that_another_domain_of_this_host_writes(host: LabHost, name: str) -> None:
    first, second = f"{name}a", f"{name}b"
    host.ok("virtrbd", "define", host.spec(first, f"disks:\n  - {{size: 16M, image: vms/{name}.x}}\n"))
    spec = host.spec(second, f"disks:\n  - size: 16M\n  - {{image: vms/{name}.x, existing: true}}\n")
    said = refused(host, 65, "define", spec)
    assert f"{spec}:1: disk vdb: image vms/{name}.x is already written by domain {first}; give it an image" in said
    assert second not in defined(host)
    assert images(host, name) == {f"{name}.x"}


SHARED = {
    "readonly here": "{image: IMAGE, existing: true, readonly: true}",
    "shareable here": "{image: IMAGE, existing: true, shareable: true, cache: none}",
    "a snapshot of it": "{image: IMAGE@s, readonly: true}",
}


@pytest.mark.parametrize("disk", SHARED)
def test_what_is_not_written_alone_may_be_used_twice(host: LabHost, name: str, disk: str) -> None:
    host.ok("virtrbd", "define", host.spec(f"{name}a", f"disks:\n  - {{size: 16M, image: vms/{name}.x}}\n"))
    host.ok("rbd", "snap", "create", "--no-progress", f"vms/{name}.x@s")
    text = SHARED[disk].replace("IMAGE", f"vms/{name}.x")
    host.ok("virtrbd", "define", host.spec(f"{name}b", f"disks:\n  - {text}\n"))
    assert {f"{name}a", f"{name}b"} <= defined(host)
    host.ok("rbd", "snap", "rm", "--no-progress", f"vms/{name}.x@s")


def test_a_cdrom_of_another_domain_does_not_count(host: LabHost, name: str) -> None:
    host.ok("virtrbd", "define", host.spec(f"{name}a", f"disks:\n  - {{size: 16M, image: vms/{name}.x}}\n"))
    xml = ET.fromstring(host.ok("virsh", "dumpxml", "--inactive", f"{name}a"))
    disk = at(xml, "devices/disk")
    disk.set("device", "cdrom")
    at(disk, "target").attrib.update(dev="sda", bus="sata")
    disk.remove(at(disk, "address"))
    (host.folder / "cdrom.xml").write_text(ET.tostring(xml, encoding="unicode"))
    host.ok("virsh", "define", "cdrom.xml")
    spec = host.spec(f"{name}b", f"disks:\n  - {{image: vms/{name}.x, existing: true}}\n")
    host.ok("virtrbd", "define", spec)
    assert {f"{name}a", f"{name}b"} <= defined(host)


def test_a_size_smaller_than_the_image_or_its_parent(host: LabHost, name: str, golden: str) -> None:
    spec = host.spec(name, f"disks:\n  - clone: {golden}\n    size: 64M\n")
    said = refused(host, 65, "define", spec)
    assert f"{spec}:4: disk vda: {golden} is 128 MiB, spec says 64 MiB; images never shrink: raise size" in said
    assert images(host, name) == set()

    host.ok("virtrbd", "define", host.spec(name, "disks:\n  - size: 32M\n"))
    said = refused(host, 65, "define", host.spec(name, "disks:\n  - size: 16M\n"))
    assert f"{spec}:4: disk vda: image vms/{name}.vda is 32 MiB, spec says 16 MiB; images never shrink" in said
    assert json.loads(host.ok("rbd", "info", "--format", "json", f"vms/{name}.vda"))["size"] == 32 * 1024**2


@pytest.mark.parametrize("what", ["golden/nowhere@v1", "GOLDEN@nowhere"])
def test_a_parent_that_does_not_exist(host: LabHost, name: str, golden: str, what: str) -> None:
    what = what.replace("GOLDEN", golden.partition("@")[0])
    spec = host.spec(name, f"disks:\n  - size: 16M\n  - clone: {what}\n")
    said = refused(host, 65, "define", spec)
    assert f"{spec}:5: disk vdb: parent {what} does not exist; make it with " in said
    assert name not in defined(host)
    assert images(host, name) == set()


def test_a_pool_that_does_not_exist(host: LabHost, name: str) -> None:
    spec = host.spec(name, f"disks:\n  - {{size: 16M, image: nowhere/{name}}}\n")
    assert "pool nowhere does not exist" in refused(host, 65, "define", spec)


def test_an_existing_image_or_snapshot_that_does_not_exist(host: LabHost, name: str) -> None:
    spec = host.spec(name, f"disks:\n  - {{image: vms/{name}.x, existing: true}}\n")
    assert f"{spec}:4: disk vda: image vms/{name}.x does not exist; existing: true" in refused(host, 65, "define", spec)
    host.ok("rbd", "create", "--size", "16M", f"vms/{name}.x")
    spec = host.spec(name, f"disks:\n  - {{image: vms/{name}.x@s, readonly: true}}\n")
    assert f"snapshot vms/{name}.x@s does not exist" in refused(host, 65, "define", spec)


def test_a_domain_of_that_name_that_is_not_ours(host: LabHost, name: str) -> None:
    uuid = "6c1b0d52-3a52-4e6e-9d3e-" + name[-10:].rjust(12, "0")
    (host.folder / "foreign.xml").write_text(
        f"<domain type='qemu'><name>{name}</name><uuid>{uuid}</uuid><memory unit='MiB'>64</memory><vcpu>1</vcpu>"
        "<description>by hand</description><os><type machine='pc-i440fx-7.1'>hvm</type></os>"
        "<devices><interface type='bridge'><mac address='52:54:00:00:00:0f'/><source bridge='br-c'/></interface>"
        "</devices></domain>"
    )
    host.ok("virsh", "define", "foreign.xml")
    before = host.ok("virsh", "dumpxml", "--inactive", name)
    spec = host.spec(name, "machine: pc\ndisks:\n  - size: 16M\n")
    assert "needs --allow takes-over" in refused(host, 4, "define", spec)
    assert host.ok("virsh", "dumpxml", "--inactive", name) == before
    assert "--allow takes-over" in refused(host, 4, "undefine", name)

    host.ok("virtrbd", "define", spec, "--allow", "takes-over")
    held = ET.fromstring(host.ok("virsh", "dumpxml", "--inactive", name))
    assert held.findtext("uuid") == uuid
    assert held.findtext("description") == "by hand"
    assert at(held, "os/type").get("machine") == "pc-i440fx-7.1"
    assert held.findtext("memory") == str(128 * 1024)
    assert at(held, "devices/interface/mac").get("address") == "52:54:00:00:00:0f"
    assert host.inspect(name)["owned"] is True
    assert host.ok("virtrbd", "define", spec) == f"{name}: nothing to do\n"


def test_a_refused_domain_leaves_no_image_behind(host: LabHost, name: str) -> None:
    """What needs a permission is asked for before anything is made."""
    (host.folder / "foreign.xml").write_text(
        f"<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory>"
        "<os><type machine='pc'>hvm</type></os></domain>"
    )
    host.ok("virsh", "define", "foreign.xml")
    refused(host, 4, "define", host.spec(name, "disks:\n  - size: 16M\n"))
    assert images(host, name) == set()


def test_a_spec_of_another_host_is_left_alone_and_said_so(host: LabHost, name: str) -> None:
    spec = host.spec(name, "host: kvm-2\ndisks:\n  - size: 16M\n")
    done = host.virtrbd("define", "--start", spec)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{name}: belongs to host kvm-2; left alone on kvm-1\n"
    assert name not in defined(host)
    assert images(host, name) == set()


def test_a_transient_domain_of_that_name(host: LabHost, name: str) -> None:
    (host.folder / "transient.xml").write_text(
        f"<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory><os><type>hvm</type></os></domain>"
    )
    host.ok("virsh", "create", "transient.xml")
    assert "a transient domain of that name runs" in refused(
        host, 65, "define", host.spec(name, "disks:\n  - size: 16M\n")
    )


def test_an_image_name_with_xmls_own_characters_goes_through_unharmed(host: LabHost, name: str) -> None:
    image = f"{name}\"&<'>;x"
    quoted = "vms/" + image.replace("'", "''")
    spec = host.spec(name, f"disks:\n  - size: 16M\n    image: '{quoted}'\n")
    try:
        host.ok("virtrbd", "define", "--start", spec)
        assert host.ok("virtrbd", "define", "--start", spec) == f"{name}: nothing to do\n"
        assert host.inspect(name)["disks"][0]["image"] == f"vms/{image}"
        # the same image in a second domain is still seen as the same
        other = host.spec(f"{name}b", f"disks:\n  - existing: true\n    image: '{quoted}'\n")
        assert "already written by domain" in refused(host, 65, "define", other)
    finally:
        host.run("virsh", "destroy", name)


HOSTILE = {
    "a bomb of aliases": (
        "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
        + "".join(
            f"{new}: &{new} [{','.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
        )
    ),
    "an alias to itself": "name: &a [*a]\n",
    "a deep nest": "[" * 50_000,
    "a deep nest, closed": "name: " + "[" * 5_000 + "]" * 5_000 + "\n",
    "ten megabytes": "name: " + "x" * 10_000_000 + "\n",
    "ten megabytes of fields": "".join(f"field{n}: {n}\n" for n in range(600_000)),
    "a NUL": "name: a\0b\nmemory: 128M\ndisks:\n  - size: 16M\n",
    "no text": "\udcff\udcfe\udc80\udc81",
    "a python tag": "!!python/object/apply:os.system ['true']\n",
    "a number as name": "name: 1\nmemory: 128M\ndisks:\n  - size: 16M\n",
    "a mapping as key": "? {a: b}\n: c\n",
    "a merge key": "name: x\nmemory: 1G\n<<: {vcpus: 2}\ndisks:\n  - size: 16M\n",
    "nothing": "",
    "lists everywhere": "name: [a]\nmemory: {b: c}\nvcpus: [1]\ndisks: {size: 1G}\ninterfaces: 3\n",
    "control characters": 'name: "\\e[2J\\e]0;x\\a"\nmemory: 1G\n"\\e[2J": 1\ndisks:\n  - size: 16M\n',
    "a huge number": "name: x\nmemory: " + "9" * 5000 + "\ndisks:\n  - size: " + "9" * 30 + "E\n",
    "a huge number of vcpus": "name: x\nmemory: 1G\nvcpus: " + "9" * 5000 + "\ndisks:\n  - size: 16M\n",
    "27 disks": "name: x\nmemory: 1G\ndisks:\n" + "  - size: 16M\n" * 27,
    "a path as name": "name: ../../etc/passwd\nmemory: 1G\ndisks:\n  - size: 16M\n",
    "a template as bridge": "name: x\nmemory: 1G\ndisks:\n  - size: 16M\ninterfaces:\n  - bridge: '{{ 7 * 7 }}'\n",
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.usefixtures("name")
def test_hostile_specs_get_a_line_and_never_a_traceback(host: LabHost, what: str) -> None:
    (host.folder / "s.yaml").write_bytes(HOSTILE[what].encode(errors="surrogateescape"))
    done = host.run("bash", "-c", "ulimit -v 2000000; exec timeout 20 virtrbd validate s.yaml")
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 65), done.stderr[-2000:]
    assert len(done.stderr) < 10_000
    assert done.stderr.replace("\n", "").isprintable()
    if done.returncode:
        assert done.stderr.startswith("s.yaml:")
