"""`virtrbd image …` as far as the main job needs it."""

import json
import os
import signal
import subprocess
from pathlib import Path

from support.lab import LAB, LabHost
from support.sources import as_disk


def big_file(folder: Path) -> str:
    """A qcow2 whose import takes long enough to be killed in the middle."""
    raw, file = folder / "big.raw", folder / "big.qcow2"
    with raw.open("wb") as stream:
        for _ in range(64):
            stream.write(os.urandom(4 * 1024**2))
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, file], check=True)
    return str(file)


def test_import_info_and_snapshot(host: LabHost, name: str) -> None:
    subprocess.run(["qemu-img", "create", "-q", "-f", "vmdk", host.folder / "disk.vmdk", "64M"], check=True)
    assert host.ok("virtrbd", "image", "import", "disk.vmdk", f"vms/{name}") == (
        f"vms/{name}: imported from disk.vmdk (64 MiB)\n"
    )
    assert host.ok("virtrbd", "image", "snapshot", "create", f"vms/{name}@v1") == f"vms/{name}@v1: created\n"
    assert host.ok("virtrbd", "image", "snapshot", "create", f"vms/{name}@v1") == f"vms/{name}@v1: exists already\n"
    info = json.loads(host.ok("virtrbd", "image", "info", f"vms/{name}", "--output", "json"))["image"]
    assert (info["size_bytes"], info["allocated_bytes"]) == (64 * 1024**2, 0)
    assert [snapshot["name"] for snapshot in info["snapshots"]] == ["v1"]
    assert (info["state"], info["owner"], info["watchers"]) == ("ready", None, [])


def test_an_image_that_exists_is_never_imported_over(host: LabHost, name: str) -> None:
    host.ok("rbd", "create", "--size", "16M", f"vms/{name}")
    (host.folder / "d.raw").write_bytes(as_disk(bytes(16 * 1024**2)))
    done = host.virtrbd("image", "import", "d.raw", f"vms/{name}")
    assert (done.returncode, done.stderr) == (
        5,
        f"image vms/{name} exists; name another one, or remove it\n",
    )


def test_a_file_that_names_another_one_is_refused(host: LabHost, name: str) -> None:
    create = [
        "qemu-img",
        "create",
        "-q",
        "-f",
        "qcow2",
        "-b",
        "/etc/passwd",
        "-F",
        "raw",
        str(host.folder / "evil.qcow2"),
    ]
    subprocess.run(create, check=True)
    done = host.virtrbd("image", "import", "evil.qcow2", f"vms/{name}")
    assert done.returncode == 5
    assert "evil.qcow2: refers to /etc/passwd; flatten it first" in done.stderr
    assert host.virtrbd("image", "info", f"vms/{name}").returncode == 5


def test_what_is_no_image_is_named(host: LabHost, name: str) -> None:
    done = host.virtrbd("image", "import", "nowhere.qcow2", f"vms/{name}")
    assert (done.returncode, done.stderr) == (65, "nowhere.qcow2: no such file; check the path\n")
    assert host.virtrbd("image", "info", "vms/a\tb").returncode == 64


def test_a_killed_import_is_not_ready_and_is_made_anew(host: LabHost, name: str) -> None:
    file = big_file(host.folder)
    command = [LAB, "env", "--", "virtrbd", "image", "import", file, f"vms/{name}"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        while host.run("rbd", "image-meta", "get", f"vms/{name}", "virtrbd.state").returncode != 0:
            assert process.poll() is None, "it was done before it could be killed"
        os.kill(process.pid, signal.SIGKILL)
    spec = host.spec(name, f"disks:\n  - image: vms/{name}\n    existing: true\n")
    refused = host.virtrbd("define", spec)
    assert refused.returncode == 65
    assert f"image vms/{name} is not ready: importing" in refused.stderr
    host.ok("virtrbd", "image", "import", file, f"vms/{name}")
    conf = host.ok("sh", "-c", "echo $CEPH_CONF").strip()
    host.ok("qemu-img", "compare", file, f"rbd:vms/{name}:id=virtrbd:conf={conf}")
