"""The main job on a real Ceph and a real libvirtd."""

import json

from support.lab import LabHost


def test_define_makes_everything_and_a_second_one_nothing(host: LabHost, name: str, golden: str) -> None:
    spec = host.spec(name, f"disks:\n  - clone: {golden}\n    size: 256M\n  - size: 64M\n")
    first = host.virtrbd("define", spec)
    assert (first.returncode, first.stderr) == (0, "")
    assert f"{name}: clone image vms/{name}.vda from {golden} (128 MiB)" in first.stdout
    assert f"{name}: grow image vms/{name}.vda from 128 MiB to 256 MiB" in first.stdout
    assert f"{name}: create image vms/{name}.vdb (64 MiB)" in first.stdout
    second = host.virtrbd("define", spec)
    assert (second.returncode, second.stdout, second.stderr) == (0, f"{name}: nothing to do\n", "")


def test_start_inspect_destroy_undefine(host: LabHost, name: str, golden: str) -> None:
    spec = host.spec(name, f"disks:\n  - clone: {golden}\n    bus: ide\n")
    assert "start domain" in host.ok("virtrbd", "define", "--start", spec)
    assert host.ok("virtrbd", "define", "--start", spec) == f"{name}: nothing to do\n"
    found = host.inspect(name)
    assert found["state"] == "running"
    [disk] = found["disks"]
    assert (disk["bus"], disk["cache"], disk["discard"], disk["parent"]) == ("ide", "writeback", "unmap", golden)
    assert len(disk["watchers"]) == 1
    assert host.virtrbd("destroy", name).returncode == 4
    host.ok("virtrbd", "destroy", name, "--allow", "interrupts-guest")
    assert host.inspect(name)["state"] == "shut off"
    assert f"kept image vms/{name}.hda" in host.ok("virtrbd", "undefine", name)
    assert f"{name}.hda" in host.ok("rbd", "ls", "vms")


def test_undefine_trashes_only_what_it_owns(host: LabHost, name: str) -> None:
    host.ok("rbd", "create", "--size", "16M", f"vms/{name}.foreign")
    spec = host.spec(name, f"disks:\n  - size: 16M\n  - image: vms/{name}.foreign\n    existing: true\n")
    host.ok("virtrbd", "define", spec)
    host.ok("virtrbd", "undefine", name, "--trash-images", "--allow", "loses-data")
    left = host.ok("rbd", "ls", "vms").split()
    assert f"{name}.foreign" in left
    assert f"{name}.vda" not in left
    trash = json.loads(host.ok("rbd", "trash", "ls", "--all", "--long", "--format", "json", "vms"))
    assert [item["name"] for item in trash if item["name"].startswith(name)] == [f"{name}.vda"]


def test_an_image_that_is_not_ours_is_blocked(host: LabHost, name: str) -> None:
    host.ok("rbd", "create", "--size", "16M", f"vms/{name}.vda")
    spec = host.spec(name, "disks:\n  - size: 16M\n")
    done = host.virtrbd("define", spec)
    assert done.returncode == 4
    assert "belongs to no domain that virtrbd knows): needs --allow takes-over" in done.stderr
    assert name not in host.ok("virsh", "list", "--all", "--name").split()
    assert host.virtrbd("define", spec, "--allow", "takes-over").returncode == 0
