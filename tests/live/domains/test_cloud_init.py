"""Cloud-init seeds: what a guest mounts is what the spec says, and says now.

One guest is booted for the file; its tests run in this order.
"""

import json
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.guests import Guest
from support.lab import LabHost

BOOT_TIMEOUT_S = 90
MIB = 1024**2

SPEC = """name: {name}
memory: 128M
disks:
  - clone: {golden}
cloud_init:
  user_data: user-data.yaml
  meta_data: {{role: web}}
  network_config: |
    version: 2
    ethernets: {{eth0: {{dhcp4: true}}}}
"""
USER_DATA = "#cloud-config\nusers:\n  - {name: ops, passwd: $6$Salt$Hash}\n"
NETWORK_CONFIG = "version: 2\nethernets: {eth0: {dhcp4: true}}\n"

# As cloud-init does it: the file system is found by its label.
MOUNT = """
i=0; until [ -b /dev/sr0 ] && grep -q iso9660 /proc/filesystems; do usleep 100000; i=$((i+1)); [ $i -lt 100 ]; done
mkdir -p /tmp/seed
mount -t iso9660 -o ro "$(findfs LABEL=cidata)" /tmp/seed
"""
READ = f"{MOUNT}cat /tmp/seed/{{file}}; umount /tmp/seed"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cloud-init")


@pytest.fixture(scope="module")
def guest(golden: str, folder: Path) -> Iterator[Guest]:
    """A golden clone with a seed, booted."""
    env = LabHost(name="kvm-1", folder=folder).env()
    guest = Guest(name=f"t{uuid.uuid4().hex[:10]}", bus="", env=env)
    (folder / "web.yaml").write_text(SPEC.format(name=guest.name, golden=golden))
    (folder / "user-data.yaml").write_text(USER_DATA)
    try:
        said = guest.ok("virtrbd", "define", str(folder / "web.yaml"))
        assert f"make cloud-init seed vms/{guest.name}.seed (meta-data, network-config, user-data)\n" in said
        assert "$6$" not in said
        guest.start()
        guest.await_up(1, BOOT_TIMEOUT_S)
        yield guest
    finally:
        guest.run("virsh", "destroy", guest.name)
        guest.run("virsh", "undefine", guest.name)
        if guest.console >= 0:
            os.close(guest.console)
        for image in ("vda", "seed"):
            guest.run("rbd", "rm", "--no-progress", f"vms/{guest.name}.{image}")


def define(guest: Guest, folder: Path) -> str:
    return guest.ok("virtrbd", "define", str(folder / "web.yaml"))


@pytest.mark.timeout(BOOT_TIMEOUT_S + 30)
def test_the_guest_mounts_a_disc_with_the_three_documents(guest: Guest) -> None:
    listed = guest.shell(f"{MOUNT}ls /tmp/seed; umount /tmp/seed").split()
    assert listed == ["meta-data", "network-config", "user-data"]
    assert guest.shell("cat /sys/block/sr0/size").strip() == str(4 * MIB // 512)
    assert "/virtio" in guest.shell("readlink -f /sys/block/sr0"), "on virtio-scsi, which cloud kernels have"
    assert guest.shell(READ.format(file="user-data")) == USER_DATA
    assert guest.shell(READ.format(file="network-config")) == NETWORK_CONFIG
    identity = guest.ok("virsh", "domuuid", guest.name).strip()
    meta_data = guest.shell(READ.format(file="meta-data"))
    assert meta_data == f"instance-id: {identity}\nlocal-hostname: {guest.name}\nrole: web\n"


def test_there_is_nothing_to_do_until_a_file_changes(guest: Guest, folder: Path) -> None:
    assert define(guest, folder) == f"{guest.name}: nothing to do\n"
    changed = USER_DATA.replace("ops", "admin")
    (folder / "user-data.yaml").write_text(changed)
    rewrite = f"rewrite cloud-init seed vms/{guest.name}.seed (meta-data, network-config, user-data)"
    assert define(guest, folder) == f"{guest.name}: {rewrite}; the guest reads it at its next boot\n"
    assert guest.shell(READ.format(file="user-data")) == changed, "the running guest, mounting it anew"
    assert define(guest, folder) == f"{guest.name}: nothing to do\n"


def test_a_missing_file_holds_back_its_own_domain_only(guest: Guest, folder: Path) -> None:
    (folder / "user-data.yaml").rename(folder / "away")
    (folder / "other.yaml").write_text(f"name: {guest.name}b\nmemory: 128M\ndisks:\n  - size: 8M\n")
    try:
        done = guest.run("virtrbd", "define", str(folder / "web.yaml"), str(folder / "other.yaml"))
        assert done.returncode == 65
        place = f"{folder}/web.yaml:6: cloud_init.user_data: {folder}/user-data.yaml"
        assert f"{place}: No such file or directory; check the path\n" in done.stderr
        assert f"{guest.name}b: define domain\n" in done.stdout
    finally:
        (folder / "away").rename(folder / "user-data.yaml")
        guest.run("virtrbd", "undefine", f"{guest.name}b")
        guest.run("rbd", "rm", "--no-progress", f"vms/{guest.name}b.vda")


def test_the_seed_is_one_object_and_belongs_to_the_domain(guest: Guest) -> None:
    info = guest.json("image", "info", f"vms/{guest.name}.seed")["image"]
    assert (info["size_bytes"], info["object_bytes"]) == (4 * MIB, 4 * MIB)
    assert info["features"] == ["layering"], "the lock of a run that was killed would hold up the next one"
    seed = next(disk for disk in guest.images() if disk["target"] == "sdg")
    assert (seed["image"], seed["owned"], seed["cache"]) == (f"vms/{guest.name}.seed", True, "none")
    metadata = json.loads(guest.ok("rbd", "image-meta", "list", "--format", "json", f"vms/{guest.name}.seed"))
    assert sorted(metadata) == ["virtrbd.owner", "virtrbd.seed"]


def test_the_seed_goes_to_the_trash_with_the_other_images(guest: Guest) -> None:
    guest.ok("virsh", "destroy", guest.name)
    said = guest.ok("virtrbd", "undefine", guest.name, "--trash-images", "--allow", "loses-data")
    assert f"moved image vms/{guest.name}.seed to the trash for 14 days\n" in said
    assert guest.run("rbd", "info", f"vms/{guest.name}.seed").returncode == 2


def test_the_seed_moves_with_the_domain(make_host: Callable[[str], LabHost], name: str) -> None:
    here, there = make_host("kvm-1"), make_host("kvm-2")
    text = "disks:\n  - size: 8M\ncloud_init: {user_data: '#here'}\n"
    here.ok("virtrbd", "define", here.spec(name, text))
    said = there.ok("virtrbd", "define", "--allow", "takes-over", there.spec(name, text))
    assert f"mark image vms/{name}.seed as owned (it belongs to this domain on host" in said
    assert "rewrite" not in said, "the disc is in RBD, and says the same there"
    assert there.ok("virtrbd", "define", f"{name}.yaml") == f"{name}: nothing to do\n"


def test_a_seed_that_was_rolled_back_is_written_again(host: LabHost, name: str) -> None:
    text = "disks:\n  - size: 8M\ncloud_init: {{user_data: '#{}'}}\n"
    host.ok("virtrbd", "define", host.spec(name, text.format("old")))
    host.ok("rbd", "snap", "create", "--no-progress", f"vms/{name}.seed@s")
    host.ok("virtrbd", "define", host.spec(name, text.format("new")))
    host.ok("virtrbd", "image", "snapshot", "rollback", "--allow", "loses-data", f"vms/{name}.seed@s")
    assert "rewrite cloud-init seed" in host.ok("virtrbd", "define", f"{name}.yaml")
    assert host.ok("virtrbd", "define", f"{name}.yaml") == f"{name}: nothing to do\n"
    host.ok("rbd", "snap", "rm", "--no-progress", f"vms/{name}.seed@s")


def test_a_foreign_image_of_that_name_is_never_overwritten_unasked(host: LabHost, name: str) -> None:
    image = f"vms/{name}.seed"
    host.ok("rbd", "create", "--size", "4M", image)
    file = host.folder / "content"
    spec = host.spec(name, "disks:\n  - size: 8M\ncloud_init: true\n")
    done = host.virtrbd("define", spec)
    assert done.returncode == 4
    assert (
        f"BLOCKED: mark image {image} as owned (it exists and belongs to no domain that virtrbd knows)" in done.stderr
    )
    assert "needs --allow takes-over,loses-data" in done.stderr
    host.ok("rbd", "export", "--no-progress", image, str(file))
    assert not any(file.read_bytes())
    said = host.ok("virtrbd", "define", "--allow", "takes-over,loses-data", spec)
    assert f"rewrite cloud-init seed {image} (meta-data, user-data)\n" in said
    assert host.ok("virtrbd", "define", spec) == f"{name}: nothing to do\n"
