"""What an image file says of itself: nothing that it says leads anywhere, and any bytes have an answer."""

import io
import os
import socket
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hostile_images import MIB, descriptor, hostile_images, qcow2, vdi, vhd, vhdx, vmdk
from support.sources import as_disk, open_source

from virtrbd.errors import SpecError, VirtrbdError
from virtrbd.model.record import replace
from virtrbd.printable import printable
from virtrbd.qemu.formats import FORMATS
from virtrbd.qemu.formats.image_bytes import ImageBytes
from virtrbd.qemu.formats.look import Look, look
from virtrbd.qemu.formats.stream import RawStream

CORPUS = hostile_images(Path("/nowhere"), 1)
BENIGN = {
    "qcow2": qcow2(),
    "vdi": vdi(),
    "vhdx": vhdx(),
    "vmdk": vmdk(descriptor(b'SPARSE "another-name.vmdk"')),
    "vpc": vhd(3) + bytes(MIB),
    "raw": as_disk(bytes(MIB)),
}
# What any bytes are made from: few would get past the magic number by chance.
SEEDS = BENIGN | {name: each.content for name, each in CORPUS.items()}
MOST_READ_BYTES = 512 * 1024


def looked_at(content: bytes, file_format: str = "") -> Look:
    """Look, and count what is read: a header decides how much of a file that is."""
    read = 0

    def read_at(at: int, count: int) -> bytes:
        nonlocal read
        assert 0 <= at < 2**63
        assert count < 2**31
        found = content[at : at + count]
        read += len(found)
        return found

    try:
        return look(ImageBytes(name="disk", length=len(content), read_at=read_at), file_format)
    finally:
        assert read <= MOST_READ_BYTES


@pytest.mark.parametrize("name", CORPUS)
def test_what_leads_elsewhere_or_lies_is_refused(name: str) -> None:
    hostile = CORPUS[name]
    with pytest.raises(VirtrbdError, match=r"^disk: ") as caught:
        looked_at(hostile.content)
    assert hostile.says in str(caught.value)
    assert int(caught.value.exit_code) == hostile.code
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("name", CORPUS)
@pytest.mark.parametrize("file_format", sorted(set(FORMATS) - {"raw"}))
def test_naming_the_format_lets_nothing_through(name: str, file_format: str) -> None:
    with pytest.raises(VirtrbdError):
        looked_at(CORPUS[name].content, file_format)


def test_named_raw_a_file_is_its_bytes_and_no_more() -> None:
    for hostile in CORPUS.values():
        if hostile.content:
            found = looked_at(hostile.content, "raw")
            assert found == Look(format="raw", size_bytes=-(-len(hostile.content) // 512) * 512)


@pytest.mark.parametrize("name", BENIGN)
def test_a_whole_disk_of_each_format_is_known_by_its_own_bytes(name: str) -> None:
    found = looked_at(BENIGN[name])
    assert (found.format, found.size_bytes) == (name, MIB)
    assert looked_at(BENIGN[name], name) == found


def test_a_fixed_vhd_is_known_by_its_end_where_all_of_it_fits() -> None:
    disk, footer = as_disk(bytes(MIB)), vhd(2)
    assert looked_at(disk + footer).format == "vpc"
    for other in (vhd(2, size=2 * MIB), vhd(3), footer[:-1] + b"x"):
        assert looked_at(disk + other).format == "raw", "a raw disk may end like one"


def test_a_vhd_is_as_large_as_qemu_makes_it() -> None:
    counted = {
        creator: looked_at(vhd(3, creator=creator) + bytes(MIB)) for creator in (b"vpc ", b"qemu", b"wa\0\0", b"????")
    }
    geometry = 30 * 4 * 17 * 512
    assert [each.size_bytes for each in counted.values()] == [geometry, geometry, MIB, MIB]
    assert [each.vhd_size_source for each in counted.values()] == ["chs", "chs", "current_size", "current_size"]


@settings(deadline=None)
@given(st.sampled_from(sorted(SEEDS)), st.data())
def test_any_bytes_have_an_answer(seed: str, data: st.DataObject) -> None:
    broken = bytearray(SEEDS[seed])
    for _ in range(data.draw(st.integers(0, 6))):
        # Most of what a header says is within its first bytes.
        at = data.draw(st.integers(0, max(0, min(len(broken), 600) - 1)))
        broken[at : at + 8] = data.draw(st.binary(min_size=1, max_size=8))
    broken = broken[: data.draw(st.integers(0, len(broken)))] if data.draw(st.booleans()) else broken
    file_format = data.draw(st.sampled_from(["", *FORMATS]))
    with suppress(VirtrbdError):
        assert 0 < looked_at(bytes(broken), file_format).size_bytes < 2**63


def test_a_descriptor_of_blank_lines_takes_no_time() -> None:
    with pytest.raises(VirtrbdError):
        looked_at(b"# Disk DescriptorFile" + b"\n" * MIB)
    with pytest.raises(VirtrbdError):
        looked_at(vmdk(b"\n \t" * 3000))


def test_what_a_header_names_is_escaped_once() -> None:
    with pytest.raises(VirtrbdError) as caught:
        looked_at(qcow2(backing=b"\x1b[2J\n\xff\\d"))
    assert r"refers to \x1b[2J\n\udcff\d; " in printable(str(caught.value))


def streamed(content: bytes, count: int = 4096) -> bytes:
    """Read as from a pipe, in chunks of `count`, up to the end."""
    pipe = io.BytesIO(content)
    stream = RawStream(name="standard input", read_some=pipe.read)
    return b"".join(iter(lambda: stream.read(count), b""))


@pytest.mark.parametrize("name", [name for name in BENIGN if name != "raw"])
def test_a_pipe_with_an_image_of_another_format_is_not_taken_for_a_raw_disk(name: str) -> None:
    with pytest.raises(VirtrbdError, match=f"^standard input: is {name}, .*; save it to a file .* --format raw"):
        streamed(BENIGN[name])


@pytest.mark.parametrize("count", [512, 4096, MIB])
def test_a_fixed_vhd_in_a_pipe_is_known_by_its_end(count: int) -> None:
    with pytest.raises(VirtrbdError, match=r"^standard input: is vpc, "):
        streamed(as_disk(bytes(MIB)) + vhd(2, size=MIB), count)


def test_what_is_refused_as_a_file_is_refused_from_a_pipe() -> None:
    with pytest.raises(VirtrbdError, match=r"^standard input: is packed by gzip; unpack it first"):
        streamed(b"\x1f\x8b\x08" + bytes(600))


@given(st.binary(max_size=2000), st.integers(1, 600).map(lambda sectors: sectors * 512))
def test_raw_data_of_any_length_passes_a_pipe_as_it_is(content: bytes, count: int) -> None:
    with suppress(VirtrbdError):
        assert streamed(as_disk(b"\0" + content), count) == as_disk(b"\0" + content)
    assert streamed(b"") == b""


def refusal(path: object, file_format: str = "") -> VirtrbdError:
    with pytest.raises(VirtrbdError) as caught, open_source(str(path), file_format):
        pass
    return caught.value


def test_what_must_not_be_opened_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fifo, folder, listener, link = (tmp_path / name for name in ("fifo", "folder", "listener", "link"))
    os.mkfifo(fifo)
    folder.mkdir()
    link.symlink_to(fifo)
    opened: list[object] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(listener))
        monkeypatch.setattr(os, "open", lambda *words, **_: opened.append(words))
        for path, what in ((fifo, "a FIFO"), (folder, "a folder"), (listener, "a socket"), (link, "a FIFO"),
                           ("/dev/null", "a character device")):  # fmt: skip
            error = refusal(path)
            assert f"{path}: is {what};" in str(error)
            assert isinstance(error, SpecError)
    assert opened == []


def test_a_link_of_another_user_is_refused_with_the_path_to_write(tmp_path: Path) -> None:
    file, link = tmp_path / "disk-12.raw", tmp_path / "disk.raw"
    file.write_bytes(as_disk(b""))
    link.symlink_to(file.name)
    with open_source(str(link)) as source:
        assert source.size_bytes == 512, "a link as LVM makes them, which only root can change"
    os.lchown(link, 65534, 65534)
    assert str(refusal(link)).endswith(
        f"is a link that another user can change, which may lead elsewhere at any moment; write {file}"
    )
    (tmp_path / "broken").symlink_to("nowhere")
    assert "no such file" in str(refusal(tmp_path / "broken"))
    # A folder above may be one.
    (tmp_path / "images").symlink_to(".")
    with open_source(str(tmp_path / "images" / file.name)) as source:
        assert source.size_bytes == 512


@pytest.mark.parametrize("path", ["", "a\0b", "/" + "x" * 300, "/etc/passwd/x", "\udcff"])
def test_a_path_that_is_none_has_an_answer(path: str) -> None:
    assert isinstance(refusal(path), SpecError)


def test_a_file_that_is_exchanged_after_the_look_is_still_the_one_that_was_looked_at(tmp_path: Path) -> None:
    file, evil = tmp_path / "disk", tmp_path / "evil"
    file.write_bytes(as_disk(b"good"))
    evil.write_bytes(qcow2(backing=b"/etc/shadow"))
    with open_source(str(file)) as source:
        evil.replace(file)
        assert os.pread(source.file.descriptor, 4, 0) == b"good"


def test_a_file_that_another_program_writes_to_is_no_whole_disk(tmp_path: Path) -> None:
    file = tmp_path / "disk"
    file.write_bytes(as_disk(b""))
    with file.open("ab"):
        assert "another program has it open for writing" in str(refusal(file))
    with open_source(str(file)) as source:
        source.file.require_still()
        # Who may not wait for the lease is told so, and the lease is broken; who may is held up.
        with pytest.raises(BlockingIOError):
            os.open(file, os.O_WRONLY | os.O_NONBLOCK)
        with pytest.raises(VirtrbdError, match="changed while it was read"):
            source.file.require_still()


def test_a_file_that_was_written_to_is_seen_where_there_are_no_leases(tmp_path: Path) -> None:
    file = tmp_path / "disk"
    file.write_bytes(as_disk(b""))
    with open_source(str(file)) as leased:
        unleased = replace(leased.file, is_leased=False)
        os.utime(file, ns=(0, 0))
        with pytest.raises(VirtrbdError, match="changed while it was read"):
            unleased.require_still()
