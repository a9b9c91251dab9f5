"""What virtrbd makes of image files beside what qemu-img makes of them."""

import fcntl
import json
import os
import subprocess
import tarfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.hostile_images import MIB, qcow2
from support.sources import as_disk, open_source

from virtrbd.errors import SpecError, VirtrbdError
from virtrbd.images.repaired_copy import repaired_copy
from virtrbd.images.source_check import looking_for_damage
from virtrbd.images.source_file import Source
from virtrbd.images.source_node import readable_node
from virtrbd.model.record import replace
from virtrbd.model.settings import ImportSettings

KINDS = {
    "raw": ("raw", ""),
    "qcow2": ("qcow2", ""),
    "qcow2 of version 2": ("qcow2", "compat=0.10"),
    "qcow2 of small clusters": ("qcow2", "cluster_size=512"),
    "qcow2 of subclusters": ("qcow2", "extended_l2=on"),
    "qcow2 of zstd": ("qcow2", "compression_type=zstd"),
    "vdi": ("vdi", ""),
    "static vdi": ("vdi", "static=on"),
    "vhdx": ("vhdx", ""),
    "fixed vhdx": ("vhdx", "subformat=fixed"),
    "vmdk": ("vmdk", ""),
    "streamed vmdk": ("vmdk", "subformat=streamOptimized"),
    "vhd": ("vpc", ""),
    "fixed vhd": ("vpc", "subformat=fixed"),
    "vhd of a stated size": ("vpc", "force_size=on"),
}
# No multiple of a MiB, nor of a cylinder.
SIZE = 5 * MIB + 512


def qemu_img(*words: object) -> str:
    return subprocess.run(["qemu-img", *map(str, words)], capture_output=True, text=True, check=True, timeout=50).stdout


def content_by(source: Source, file: Path) -> bytes:
    """What qemu-img reads of it by the name that virtrbd gives it."""
    with readable_node(source) as node:
        words = ["qemu-img", "convert", "-O", "raw", node.name, str(file)]
        subprocess.run(words, pass_fds=[node.descriptor], check=True, timeout=50)
    return file.read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_that_qemu_img_made_has_the_format_size_and_content_that_qemu_img_sees(
    kind: str, tmp_path: Path
) -> None:
    file_format, options = KINDS[kind]
    content = as_disk(os.urandom(SIZE))
    raw, file = tmp_path / "disk.raw", tmp_path / "disk"
    raw.write_bytes(content)
    qemu_img("convert", "-f", "raw", "-O", file_format, *(["-o", options] if options else []), raw, file)
    told = json.loads(qemu_img("info", "--output", "json", "-f", file_format, file))
    with open_source(str(file)) as source, looking_for_damage(source) as require_whole:
        assert (source.look.format, source.size_bytes) == (file_format, told["virtual-size"])
        require_whole()
        found = content_by(source, tmp_path / "back")
    assert len(found) == source.size_bytes
    assert found.startswith(content)
    assert not any(found[SIZE:])


@pytest.mark.parametrize("kind", ["qcow2", "vmdk", "vdi", "vhdx", "vpc"])
def test_a_file_that_was_cut_short_is_not_whole(kind: str, tmp_path: Path) -> None:
    raw, file = tmp_path / "disk.raw", tmp_path / "disk"
    raw.write_bytes(os.urandom(SIZE))
    qemu_img("convert", "-f", "raw", "-O", kind, raw, file)
    os.truncate(file, SIZE // 2)
    with pytest.raises(SpecError) as caught:
        require_whole(file)
    assert str(caught.value).startswith(f"{file}: is damaged or cut short: ")
    assert not {"json:", "/proc"} & set(str(caught.value).split())


def require_whole(file: Path) -> None:
    with open_source(str(file)) as source, looking_for_damage(source) as ask:
        ask()


def test_a_file_that_is_exchanged_after_the_look_is_neither_checked_nor_read(tmp_path: Path) -> None:
    file, evil, secret, raw = (tmp_path / name for name in ("disk", "evil", "secret", "disk.raw"))
    raw.write_bytes(os.urandom(MIB))
    secret.write_bytes(b"secret".ljust(MIB))
    qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, file)
    qemu_img("create", "-q", "-f", "qcow2", "-F", "raw", "-b", secret, evil)
    with open_source(str(file)) as source:
        evil.replace(file)
        with looking_for_damage(source) as ask:
            ask()
        assert content_by(source, tmp_path / "back") == raw.read_bytes()
        source.file.require_still()


def test_a_header_that_is_exchanged_after_the_look_leads_to_no_backing_file(tmp_path: Path) -> None:
    """Where no lease can be had, over NFS say, another program may write to the file until it is seen that it did."""
    file, secret = tmp_path / "disk", tmp_path / "secret"
    secret.write_bytes(b"secret".ljust(MIB))
    file.write_bytes(qcow2())
    with open_source(str(file)) as source:
        fcntl.fcntl(source.file.descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        file.write_bytes(qcow2(backing=bytes(secret)))
        assert b"secret" in qemu_img_content(file), "it is what QEMU would follow"
        assert content_by(source, tmp_path / "back") == bytes(MIB)
        with pytest.raises(VirtrbdError, match="changed while it was read"):
            replace(source.file, is_leased=False).require_still()


def qemu_img_content(file: Path) -> bytes:
    back = file.with_suffix(".followed")
    qemu_img("convert", "-f", "qcow2", "-O", "raw", file, back)
    return back.read_bytes()


def test_a_qcow2_that_a_crash_left_open_is_not_called_damaged_and_a_copy_is_repaired(tmp_path: Path) -> None:
    file = tmp_path / "lazy.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on", file, "8M")
    # It dies by SIGABRT, as QEMU does where its host loses power.
    crash = ["qemu-io", "-f", "qcow2", "-c", "write -P 7 0 2M", "-c", "flush", "-c", "abort", str(file)]
    subprocess.run(crash, check=False, capture_output=True, timeout=50)
    before = file.read_bytes()
    command = f"qemu-img check -r all -f qcow2 {file}"
    with pytest.raises(
        SpecError, match=f"was not closed, .*; import a repaired copy with --repair-copy, .*`{command}`"
    ):
        require_whole(file)
    cache = ImportSettings(cache_dir=str(tmp_path / "cache"))
    with ExitStack() as stack:
        source = repaired_copy(stack, stack.enter_context(open_source(str(file))), cache)
        stack.enter_context(looking_for_damage(source))()
        assert content_by(source, tmp_path / "back") == b"\7" * 2 * MIB + bytes(6 * MIB)
    assert file.read_bytes() == before
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_disk_in_an_ova_is_read_between_its_two_ends(tmp_path: Path) -> None:
    content, raw, file = as_disk(os.urandom(MIB)), tmp_path / "disk.raw", tmp_path / "disk"
    raw.write_bytes(content)
    for file_format, options in (("vmdk", ["-o", "subformat=streamOptimized"]), ("qcow2", []), ("raw", [])):
        qemu_img("convert", "-f", "raw", "-O", file_format, *options, raw, file)
        with tarfile.open(tmp_path / "box.ova", "w") as archive:
            archive.add(os.devnull, "box.ovf")
            archive.add(file, "disk")
            archive.add(os.devnull, "box.mf")
        for mode in (0o644, 0o600):
            (tmp_path / "box.ova").chmod(mode)
            with open_source(str(tmp_path / "box.ova")) as source, looking_for_damage(source) as ask:
                ask()
                assert source.look.format == file_format
                assert content_by(source, tmp_path / "back") == content
