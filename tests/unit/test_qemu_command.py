"""The same disks on a plain QEMU command line, right for each era of QEMU."""

import subprocess

import pytest
from support.command_lines import ADMIN, OURS, command, device, disk, domain, drive, node, refusal, values

from virtrbd.model.cache import CACHE_FACTS
from virtrbd.model.disk import Bus, Cache, Discard
from virtrbd.model.image import ImageRef
from virtrbd.model.machine import Cpu, Firmware, Topology
from virtrbd.model.record import replace
from virtrbd.qemu.command import command_text


def test_the_form_of_cephs_page_from_1_2() -> None:
    assert drive(disk(Bus.IDE), "1.2") == "format=raw,file=rbd:data/squeeze,cache=writeback,if=none,id=drive-hda"


@pytest.mark.parametrize(
    ("cache", "tail"),
    [
        (Cache.WRITEBACK, ":rbd_cache=true,cache=writeback"),
        (Cache.UNSAFE, ":rbd_cache=true,cache=unsafe"),
        # Before 1.2 QEMU does not flush after the writes of a write-through disk.
        (Cache.WRITETHROUGH, ":rbd_cache=true:rbd_cache_max_dirty=0,cache=writethrough"),
        (Cache.NONE, ",cache=none"),
        (Cache.DIRECTSYNC, ",cache=directsync"),
        (Cache.DEFAULT, ""),
    ],
)
def test_before_1_2_librbd_must_be_told_of_its_cache(cache: Cache, tail: str) -> None:
    assert f"file=rbd:data/squeeze{tail},if=none" in drive(disk(Bus.IDE, cache=cache), "1.1")
    assert "rbd_cache" not in drive(disk(Bus.IDE, cache=cache), "1.2")


@pytest.mark.parametrize("cache", list(Cache))
def test_blockdev_and_device_say_the_cache_as_libvirt_does(cache: Cache) -> None:
    subject = disk(cache=cache)
    if cache is Cache.DEFAULT:
        assert "cache" not in node(subject, "4.2")
        assert "write-cache" not in device(subject, "4.2")
        return
    facts = CACHE_FACTS[cache]
    assert node(subject, "4.2")["cache"] == {"direct": facts.direct, "no-flush": facts.no_flush}
    assert device(subject, "4.2")["write-cache"] == ("on" if facts.write_cache else "off")


def test_write_cache_from_2_7_and_not_on_old_usb() -> None:
    assert "write-cache" not in device(disk(), "2.6")
    assert device(disk(), "2.7")["write-cache"] == "on"
    assert "write-cache" not in device(disk(Bus.USB), "8.2")
    assert device(disk(Bus.USB), "9.0")["write-cache"] == "on"


def test_blockdev_from_4_2() -> None:
    assert values(command(disk(), "4.1"), "-blockdev") == []
    assert node(disk(), "4.2", cluster=OURS, conf="/etc/ceph/b.conf") == {
        "driver": "raw",
        "node-name": "drive-vda",
        "cache": {"direct": False, "no-flush": False},
        "discard": "unmap",
        "file": {"driver": "rbd", "pool": "data", "image": "squeeze", "conf": "/etc/ceph/b.conf", "user": "virtrbd"},
    }
    assert values(command(disk(), "4.2"), "-drive") == []


@pytest.mark.parametrize(
    ("qemu", "machine", "bus", "granularity", "passes"),
    [
        ("1.0", "pc", Bus.IDE, None, False),
        ("1.1", "pc", Bus.IDE, "512", False),
        ("1.4", "pc", Bus.IDE, "512", False),
        ("1.4", "pc", Bus.SATA, "512", False),
        ("1.4", "pc", Bus.SCSI, "4096", False),
        ("1.4", "pc", Bus.VIRTIO, None, False),
        ("1.5", "pc", Bus.IDE, None, True),
        ("2.7", "pc-1.4", Bus.IDE, "512", True),
        ("2.7", "pc-i440fx-1.4", Bus.IDE, "512", True),
        ("2.7", "pc-i440fx-1.5", Bus.IDE, None, True),
    ],
)
def test_granularity_switches_trim_on_up_to_1_4(
    qemu: str, machine: str, bus: Bus, granularity: str | None, passes: bool
) -> None:
    assert device(disk(bus), qemu, machine).get("discard_granularity") == granularity
    assert ("discard=unmap" in drive(disk(bus), qemu, machine)) is passes
    ignoring = disk(bus, discard=Discard.IGNORE, discard_granularity_bytes=512)
    assert "discard=" not in drive(ignoring, qemu, machine)
    if qemu < "1.5":
        assert "discard_granularity" not in device(ignoring, qemu, machine)


@pytest.mark.parametrize(
    ("qemu", "machine", "bus", "granularity"),
    [
        ("4.2", "pc", Bus.IDE, None),
        ("4.2", "pc", Bus.SATA, None),
        ("4.2", "pc", Bus.SCSI, "65536"),
        ("5.2", "pc", Bus.VIRTIO, None),
        ("7.2", "pc-i440fx-5.2", Bus.VIRTIO, None),
        ("7.2", "pc-i440fx-6.0", Bus.VIRTIO, "65536"),
        ("10.0", "pc", Bus.USB, None),
    ],
)
def test_scsi_and_virtio_guests_are_told_what_librbd_frees(
    qemu: str, machine: str, bus: Bus, granularity: str | None
) -> None:
    assert device(disk(bus), qemu, machine).get("discard_granularity") == granularity
    assert "discard_granularity" not in device(disk(bus, discard=Discard.IGNORE), qemu, machine)


def test_a_stated_granularity_is_taken_where_a_guest_can_see_it() -> None:
    stated = {"discard_granularity_bytes": 4 * 1024**2}
    assert device(disk(Bus.SCSI, **stated), "2.7")["discard_granularity"] == "4194304"
    assert device(disk(Bus.VIRTIO, **stated), "6.2")["discard_granularity"] == "4194304"
    assert "discard_granularity" not in device(disk(Bus.VIRTIO, **stated), "5.0")
    assert "from QEMU 6.0" in str(command(disk(Bus.VIRTIO, **stated), "5.0").notes)
    assert "from QEMU 9.0" in str(command(disk(Bus.USB, **stated), "7.2").notes)
    for bus in (Bus.IDE, Bus.SATA):
        assert "512" in refusal(disk(bus, **stated), "7.2")
    assert device(disk(Bus.IDE, discard_granularity_bytes=512), "7.2")["discard_granularity"] == "512"


def test_notes_say_where_discard_has_no_effect() -> None:
    assert "QEMU discards on RBD from 1.1 on" in str(command(disk(Bus.IDE), "1.0").notes)
    assert "from QEMU 4.0" in str(command(disk(), "2.7").notes)
    assert "from QEMU 4.0" in str(command(disk(), "7.2", "pc-i440fx-3.1").notes)
    assert command(disk(), "4.2").notes == ()
    assert "an rbd_cache in ceph.conf overrides" in str(command(disk(Bus.IDE), "2.3").notes)
    assert command(disk(Bus.IDE), "2.4").notes == ()


def test_namespaces_from_5_0() -> None:
    spaced = disk(image=ImageRef(pool="data", namespace="ns", name="squeeze"))
    file = node(spaced, "5.0")["file"]
    assert isinstance(file, dict)
    assert (file["namespace"], file["image"]) == ("ns", "squeeze")
    for qemu in ("1.2", "4.2"):
        assert refusal(spaced, qemu).startswith("web.yaml:1: disk vda: namespaces came with QEMU 5.0")


def test_a_snapshot_is_opened_read_only() -> None:
    taken = disk(image=ImageRef(pool="data", name="squeeze", snapshot="v1"))
    assert drive(taken, "1.2").startswith("format=raw,file=rbd:data/squeeze@v1,cache=writeback,readonly=on,")
    assert node(taken, "7.2")["read-only"] is True
    assert node(taken, "7.2")["file"] == {"driver": "rbd", "pool": "data", "image": "squeeze", "snapshot": "v1"}
    assert node(disk(readonly=True), "7.2")["read-only"] is True
    assert "can't be readonly" in refusal(disk(Bus.IDE, readonly=True), "7.2")
    assert "can't be readonly" in refusal(disk(Bus.SATA, image=taken.image), "1.2")


HOSTILE = "a,b\\c =;$(id)'\"`\n&"


def test_hostile_names_stay_names() -> None:
    subject = disk(Bus.IDE, image=ImageRef(pool="p,q", name=HOSTILE), ceph_config="/etc/a:b,c\\d.conf")
    # What QEMU does: -drive halves the commas (get_opt_value), rbd.c then takes the backslashes away.
    value = drive(subject, "1.2", cluster=OURS).replace(",,", "\0")
    fields = dict(pair.split("=", 1) for pair in value.split(","))
    assert fields["file"].replace("\0", ",") == (
        "rbd:p,q/" + HOSTILE.replace("\\", "\\\\") + ":id=virtrbd:conf=/etc/a\\:b,c\\\\d.conf"
    )
    file = node(subject, "7.2", cluster=OURS)["file"]
    assert isinstance(file, dict)
    assert (file["pool"], file["image"], file["conf"]) == ("p,q", HOSTILE, "/etc/a:b,c\\d.conf")


@pytest.mark.parametrize("qemu", ["1.2", "7.2"])
def test_the_text_is_the_words_for_a_shell(qemu: str) -> None:
    subject = domain(disk(Bus.IDE, image=ImageRef(pool="p", name=HOSTILE)))
    found = command(subject, qemu, cluster=OURS, conf="/etc/x\nrm -rf /\n.conf")
    echoing = command_text(found).replace("\nqemu-system-x86_64 ", "\nprintf '%s\\0' qemu-system-x86_64 ")
    done = subprocess.run(["/bin/sh", "-c", echoing], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert tuple(done.stdout.split("\0")[:-1]) == found.words


def test_what_rbd_file_names_cannot_hold_is_refused() -> None:
    assert "the @ in the path" in refusal(disk(), "4.1", conf="/srv/a@b/ceph.conf")
    snapshot = ImageRef(pool="data", name="squeeze", snapshot="v1")
    assert "conf=/srv/a\\@b/ceph.conf" in drive(disk(image=snapshot), "4.1", conf="/srv/a@b/ceph.conf")
    assert "the user a:b" in refusal(disk(), "4.1", cluster=replace(ADMIN, user="a:b"))
    assert command(disk(), "4.2", cluster=replace(ADMIN, user="a:b"), conf="/srv/a@b/ceph.conf").notes == ()


def test_no_key_is_on_the_command_line_and_the_text_says_where_it_is() -> None:
    text = command_text(command(disk(), "7.2", cluster=OURS, conf="/etc/ceph/b.conf"))
    assert (
        "# The key of client.virtrbd is not here: QEMU reads it from the keyring that /etc/ceph/b.conf names." in text
    )
    assert "key=" not in text.partition("qemu-system")[2]
    assert "key-secret" not in text


def test_the_head_runs_the_machine() -> None:
    whole = domain(disk(), hypervisor="qemu", vcpus=8, current_vcpus=2, cpu=Cpu(
        mode="custom", topology=Topology(sockets=2, cores=2, threads=2)
    ))  # fmt: skip
    assert command(whole, "7.2", "pc-q35-7.2").words[:9] == (
        "qemu-system-x86_64", "-name", "web-01", "-machine", "pc-q35-7.2,accel=tcg", "-m", "2048",
        "-smp", "2,maxcpus=8,sockets=2,cores=2,threads=2",
    )  # fmt: skip
    assert "firmware uefi" in str(command(domain(disk(), firmware=Firmware(kind="uefi")), "7.2").notes)


@pytest.mark.parametrize(
    ("qemu", "machine", "taken"),
    [("1.0", "pc-q35-7.2", "pc"), ("1.0", "q35", "pc"), ("2.7", "pc-q35-7.2", "q35"), ("1.2", "pc-i440fx-7.2", "pc")],
)
def test_a_machine_that_qemu_has_not_yet_is_replaced_and_told(qemu: str, machine: str, taken: str) -> None:
    found = command(disk(), qemu, machine)
    assert values(found, "-machine") == [f"{taken},accel=kvm"]
    assert f"this QEMU has no machine {machine}; {taken} replaces it" in found.notes


# Each era, as a person sees it; the first is Ceph's page before QEMU 1.2, the last is today.
GOLDEN = {
    "1.0": """\
-device ich9-ahci,id=ahci0
-drive format=raw,file=rbd:data/squeeze:rbd_cache=true,cache=writeback,if=none,id=drive-hda
-device ide-hd,drive=drive-hda,id=hda,bus=ide.0,unit=0
-drive format=raw,file=rbd:data/sata:rbd_cache=true,cache=writeback,if=none,id=drive-sda
-device ide-hd,drive=drive-sda,id=sda,bus=ahci0.0
-drive format=raw,file=rbd:data/virtio,cache=none,if=none,id=drive-vda
-device virtio-blk-pci,drive=drive-vda,id=vda""",
    "1.2": """\
-device ich9-ahci,id=ahci0
-drive format=raw,file=rbd:data/squeeze,cache=writeback,if=none,id=drive-hda
-device ide-hd,drive=drive-hda,discard_granularity=512,id=hda,bus=ide.0,unit=0
-drive format=raw,file=rbd:data/sata,cache=writeback,if=none,id=drive-sda
-device ide-hd,drive=drive-sda,discard_granularity=512,id=sda,bus=ahci0.0
-drive format=raw,file=rbd:data/virtio,cache=none,if=none,id=drive-vda
-device virtio-blk-pci,drive=drive-vda,id=vda""",
    "1.5": """\
-device ich9-ahci,id=ahci0
-drive format=raw,file=rbd:data/squeeze,cache=writeback,discard=unmap,if=none,id=drive-hda
-device ide-hd,drive=drive-hda,id=hda,bus=ide.0,unit=0
-drive format=raw,file=rbd:data/sata,cache=writeback,discard=unmap,if=none,id=drive-sda
-device ide-hd,drive=drive-sda,id=sda,bus=ahci0.0
-drive format=raw,file=rbd:data/virtio,cache=none,discard=unmap,if=none,id=drive-vda
-device virtio-blk-pci,drive=drive-vda,id=vda""",
    "2.7": """\
-device ich9-ahci,id=ahci0
-drive format=raw,file=rbd:data/squeeze,cache=writeback,discard=unmap,if=none,id=drive-hda
-device ide-hd,drive=drive-hda,write-cache=on,id=hda,bus=ide.0,unit=0
-drive format=raw,file=rbd:data/sata,cache=writeback,discard=unmap,if=none,id=drive-sda
-device ide-hd,drive=drive-sda,write-cache=on,id=sda,bus=ahci0.0
-drive format=raw,file=rbd:data/virtio,cache=none,discard=unmap,if=none,id=drive-vda
-device virtio-blk-pci,drive=drive-vda,write-cache=on,id=vda""",
}
_MODERN = """\
-device ich9-ahci,id=ahci0
-blockdev '{{"driver": "raw", "node-name": "drive-hda", "cache": {{"direct": false, "no-flush": false}}, \
"discard": "unmap", "file": {{"driver": "rbd", "pool": "data", "image": "squeeze"}}}}'
-device ide-hd,drive=drive-hda,write-cache=on,id=hda,bus=ide.0,unit=0
-blockdev '{{"driver": "raw", "node-name": "drive-sda", "cache": {{"direct": false, "no-flush": false}}, \
"discard": "unmap", "file": {{"driver": "rbd", "pool": "data", "image": "sata"}}}}'
-device ide-hd,drive=drive-sda,write-cache=on,id=sda,bus=ahci0.0
-blockdev '{{"driver": "raw", "node-name": "drive-vda", "cache": {{"direct": true, "no-flush": false}}, \
"discard": "unmap", "file": {{"driver": "rbd", "pool": "data", "image": "virtio"}}}}'
-device virtio-blk-pci,drive=drive-vda,{}write-cache=on,id=vda"""
GOLDEN |= {qemu: _MODERN.format("") for qemu in ("4.2", "5.0")}
GOLDEN |= {qemu: _MODERN.format("discard_granularity=65536,") for qemu in ("6.2", "7.2", "10.0")}


@pytest.mark.parametrize("qemu", GOLDEN)
def test_each_era_as_printed(qemu: str) -> None:
    whole = domain(
        disk(Bus.IDE),
        disk(Bus.SATA, image=ImageRef(pool="data", name="sata")),
        disk(image=ImageRef(pool="data", name="virtio"), cache=Cache.NONE),
    )
    text = command_text(command(whole, qemu))
    head = (
        "qemu-system-x86_64 \\\n    -name web-01 \\\n    -machine pc,accel=kvm \\\n    -m 2048 \\\n    -smp 2 \\\n    "
    )
    assert (
        text.partition("qemu-system")[2]
        == (head + GOLDEN[qemu].replace("\n", " \\\n    ")).removeprefix("qemu-system") + "\n"
    )
    assert text.startswith(f"# web-01: its disks for QEMU {qemu}, machine pc; ")
