"""Images from disks in other files and from the net, all the way into Ceph."""

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

from support.web import serving
from support.worlds import LabWorld, Sources


def ova_of(folder: Path, raw: Path) -> bytes:
    """Return an OVA, packed, with a VMDK as it is exported, and what describes it."""
    disk, out = folder / "disk-1.vmdk", io.BytesIO()
    words = ["qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", str(raw), str(disk)]
    subprocess.run(words, check=True, timeout=50)
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("box.ovf")
        archive.addfile(info)
        archive.add(disk, disk.name)
    return gzip.compress(out.getvalue())


def test_a_disk_in_a_packed_ova_comes_from_the_net_by_hand_and_by_a_spec(
    world: LabWorld, name: str, sources: Sources, tmp_path: Path
) -> None:
    with serving(None) as web:
        web.files["/box.ova.gz"] = ova_of(tmp_path, sources.file)
        url, checksum = web.url("/box.ova.gz"), f"sha256:{hashlib.sha256(web.files['/box.ova.gz']).hexdigest()}"
        words = ("image", "import", url, f"vms/{name}.a", "--checksum")
        wrong = world.virtrbd(*words, f"sha256:{'0' * 64}")
        assert (wrong.returncode, wrong.stdout) == (65, "")
        assert "is not the expected file" in wrong.stderr
        assert world.images(name) == []
        answer = json.loads(world.ok("--output", "json", *words, checksum, "--verify"))
        assert (answer["checksum"], answer["verified"], answer["changed"]) == (checksum, True, True)
        spec = world.host.spec(name, f"disks:\n  - import: {url}\n    checksum: {checksum}\n    size: 8M\n")
        assert f"would import image vms/{name}.vda from {url} (6 MiB)" in world.virtrbd("plan", spec).stdout
        world.ok("define", spec)
        web.files.clear()
        assert world.ok("define", spec) == f"{name}: nothing to do\n"
    assert [path for path, _ in web.asked] == ["/box.ova.gz"] * 2, "it was fetched once for each checksum"
    assert world.content(f"{name}.a") == sources.file_content
    assert world.content(f"{name}.vda") == sources.file_content + bytes(2 * 1024**2)
    world.ok("undefine", name)
    world.forget(name)


def test_what_is_no_disk_makes_no_image(world: LabWorld, name: str, tmp_path: Path) -> None:
    page = tmp_path / "disk.qcow2"
    page.write_bytes(b"<!DOCTYPE html><title>404</title>".ljust(4096))
    done = world.virtrbd("image", "import", str(page), f"vms/{name}.a")
    assert (done.returncode, "is a web page" in done.stderr, "--format raw" in done.stderr) == (5, True, True)
    assert world.images(name) == []
    world.ok("image", "import", "--format", "raw", str(page), f"vms/{name}.a")
    assert world.content(f"{name}.a") == page.read_bytes()
    world.forget(name)
