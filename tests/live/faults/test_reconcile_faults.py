"""What may go wrong around a reconcile: nothing is lost, the exit code is right, and the next run converges."""

import errno
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC
from pathlib import Path

import libvirt
import pytest
import rbd
from support.fleets import DISK, Fleet
from support.lab import LAB
from support.operators import heal, pid_of

# It disturbs what all tests share.
pytestmark = pytest.mark.alone


MIB = 1024**2
LIVE = libvirt.VIR_DOMAIN_AFFECT_LIVE
LIBVIRT_S, CEPH_S = 5, 3
SHORT = f"{{ceph: {CEPH_S}, libvirt: {LIBVIRT_S}, watcher: 8}}"

GUEST = "machine: pc\nstate: running\n"


@pytest.mark.timeout(180)
def test_killed_after_each_step_and_run_again(fleet: Fleet) -> None:
    """Each run is killed after the first thing that it changes; the runs together do the whole work."""
    cdrom, disk = "cdroms:\n  - {}\n", "  - size: {}\n{}"
    a = fleet.spec("a", f"{GUEST}{cdrom}disks:\n{disk.format('8M', '')}")
    iso = f"{a}.iso"
    rbd.RBD().create(fleet.vms, iso, MIB)
    fleet.converges()
    data = os.urandom(4096)
    with rbd.Image(fleet.vms, f"{a}.vda") as image:
        image.write(data, 0)
    limit = "    iotune: {total_iops_sec: 500}\n"
    disks = disk.format("16M", limit) + disk.format("8M", "")
    title = "title: new\nautostart: true\n"
    fleet.spec("a", f"{GUEST}{title}cdroms:\n  - image: vms/{iso}\ndisks:\n{disks}")
    b = fleet.spec("b", f"{GUEST}autostart: true\n{DISK}")
    uuid, pid = fleet.domain(a).UUIDString(), fleet.qemu_pid(a)
    fleet.set(parallel="1")
    runs = fleet.reconcile_killed()
    assert {
        "virDomain.blockResize", "RBD.create", "virConnect.defineXMLFlags", "virDomain.setMetadata",
        "virDomain.setAutostart", "virDomain.setBlockIoTune", "virDomain.updateDeviceFlags",
        "virDomain.attachDeviceFlags", "virDomain.create",
    } <= {step for steps in runs for step in steps}  # fmt: skip
    assert len(runs) > 12
    fleet.is_in_sync()
    assert (fleet.domain(a).UUIDString(), fleet.qemu_pid(a)) == (uuid, pid), "the guest ran on"
    live = fleet.domain(a).XMLDesc()
    assert f"name='vms/{iso}'" in live
    assert f"name='vms/{a}.vdb'" in live
    assert fleet.domain(a).blockIoTune("vda")["total_iops_sec"] == 500
    assert "<title>new</title>" in live
    assert fleet.domain(b).isActive()
    with rbd.Image(fleet.vms, f"{a}.vda", read_only=True) as image:
        assert (image.size(), image.read(0, 4096)) == (16 * MIB, data)
    mine = sorted(image for image in rbd.RBD().list(fleet.vms) if image.startswith(fleet.name))
    assert mine == [iso, f"{a}.vda", f"{a}.vdb", f"{b}.vda"]
    assert os.listdir(fleet.state / "intents") == []


@pytest.mark.stack
@pytest.mark.timeout(120)
def test_a_stopped_qemu_holds_up_its_own_domain_alone(fleet: Fleet, libvirt_version: tuple[int, ...]) -> None:
    fleet.set(timeouts=SHORT)
    a, stuck, c = (fleet.spec(letter, f"{GUEST}{DISK}") for letter in "abc")
    fleet.converges()
    limited = DISK + "    iotune: {total_iops_sec: 500}\n"
    for letter in "abc":
        fleet.spec(letter, f"{GUEST}{limited}")
    pid = fleet.qemu_pid(stuck)
    os.kill(pid, signal.SIGSTOP)
    try:
        hung = fleet.reconcile()
        # Now libvirtd itself waits for it, with the domain's job lock held: a redefinition hangs too.
        for letter in "abc":
            fleet.spec(letter, f"{GUEST}{limited.replace('500', '600')}")
        again = fleet.reconcile()
    finally:
        os.kill(pid, signal.SIGCONT)
    assert hung.code == 69, hung
    for name in (a, c):
        assert f"{name}: limit disk vda (total_iops_sec 500)\n" in hung.out, hung
        assert fleet.domain(name).blockIoTune("vda")["total_iops_sec"] == 600
    said = f"limit disk vda (total_iops_sec 500): libvirt: limiting vda: no answer within {LIBVIRT_S} s"
    told = [f"{stuck}: UNKNOWN: {said}; whether it still takes effect is unknown"]
    if libvirt_version >= (11,):
        # It gives no XML of a domain that it waits for, so that it can't be looked at again either.
        unread = f"libvirt: reading domain {stuck}: no answer within {LIBVIRT_S / 2:g} s; libvirt waits for its QEMU"
        told.append(f"{stuck}: UNKNOWN: check whether everything is as wanted: {unread}")
    assert [line.partition(", which may")[0] for line in hung.err.splitlines()] == told
    assert (again.code, len(again.out.splitlines())) == (69, 4), again
    assert [line.split(":")[0] for line in again.err.splitlines()] == [stuck]
    assert max(hung.took_s, again.took_s) < 3 * LIBVIRT_S + 6
    fleet.converges()
    assert fleet.domain(stuck).blockIoTune("vda")["total_iops_sec"] == 600


@pytest.mark.timeout(120)
def test_virsh_in_the_window_between_looking_and_acting(fleet: Fleet) -> None:
    gone, renamed, dumped, edited, stopped = (
        fleet.spec(letter, (GUEST if letter == "s" else "") + DISK) for letter in "grdes"
    )
    fleet.converges()
    old = {name: fleet.xml(name) for name in (dumped, edited)}
    fleet.spec("d", f"title: once\n{DISK}")
    fleet.converges()
    for letter in "grd":
        fleet.spec(letter, f"vcpus: 2\n{DISK}")
    # Nothing but the digest of the inputs is to be renewed.
    fleet.spec("e", f"{DISK}# a comment\n")
    fleet.spec("s", GUEST + DISK + "    iotune: {total_iops_sec: 500}\n")
    (fleet.folder / "old.xml").write_text(old[dumped])
    (fleet.folder / "edited.xml").write_text(re.sub("<vcpu.*</vcpu>", "<vcpu>3</vcpu>", old[edited]))
    fleet.set(parallel="1")
    window = (
        f"connection.lookupByName({gone!r}).undefine(); "
        f"connection.lookupByName({renamed!r}).rename({renamed + 'x'!r}); "
        f"connection.lookupByName({stopped!r}).destroy(); "
        "[connection.defineXML(open(file).read()) for file in ('old.xml', 'edited.xml')]"
    )
    uuids = {name: fleet.domain(name).UUIDString() for name in (gone, renamed, dumped)}
    run = fleet.reconcile_with(window)
    assert run.code == 5, run
    assert "Traceback" not in run.err
    changed = "the definition was changed meanwhile by another program; run again"
    for name in (gone, renamed, dumped, edited):
        assert re.search(rf"^{name}: FAILED: .*: {changed}$", run.err, re.MULTILINE), (name, run)
    again = fleet.reconcile()
    assert again.code == 65, again
    assert f"renamed to {renamed}x (UUID {uuids[renamed]}); rename it back with virsh domrename" in again.err
    fleet.connection.lookupByName(f"{renamed}x").rename(renamed)
    fleet.converges()
    for name in (gone, renamed, dumped):
        assert ">2</vcpu>" in fleet.xml(name)
        assert fleet.domain(name).UUIDString() == uuids[name]
    assert ">1</vcpu>" in fleet.xml(edited), "a change while the digest was renewed is found"
    assert "<title>" not in fleet.xml(dumped)
    assert fleet.domain(stopped).blockIoTune("vda")["total_iops_sec"] == 500


@pytest.mark.timeout(150)
@pytest.mark.parametrize("fault", ["osd paused", "mon killed", "libvirtd killed"])
def test_a_daemon_that_fails_in_mid_run(fleet: Fleet, fault: str) -> None:
    fleet.set(timeouts=SHORT)
    a = fleet.spec("a", f"{GUEST}{DISK}")
    fleet.converges()
    pid = fleet.qemu_pid(a)
    fleet.spec("a", f"{GUEST}disks:\n  - size: 16M\n")
    names = [fleet.spec(letter, f"autostart: true\n{DISK}") for letter in "bcd"]
    commands = {
        "osd paused": f"__import__('subprocess').run({[LAB, 'env', '--admin', '--', 'ceph', 'osd', 'pause']!r})",
        "mon killed": f"os.kill({pid_of('mon')}, 9)",
        "libvirtd killed": f"os.kill({pid_of('kvm-1 libvirtd')}, 9)",
    }
    try:
        cut = fleet.reconcile_with(commands[fault])
    finally:
        if fault == "osd paused":
            subprocess.run([LAB, "env", "--admin", "--", "ceph", "osd", "unpause"], check=True, capture_output=True)
        else:
            heal()
    assert cut.code == 69, cut
    assert "Traceback" not in cut.err
    assert cut.took_s < 45
    with closing(libvirt.open(fleet.env["LIBVIRT_DEFAULT_URI"])) as connection:
        after = replace(fleet, connection=connection)
        after.converges()
        assert after.qemu_pid(a) == pid, "the guest ran on"
        assert after.domain(a).blockInfo("vda")[0] == 16 * MIB
        assert all(after.domain(name).autostart() for name in names)


def test_libvirtd_restarted_between_two_actions(fleet: Fleet) -> None:
    """As a package upgrade does: what was going on fails, the next run does it."""
    for letter in "ab":
        fleet.spec(letter, f"autostart: true\n{DISK}")
    pid = pid_of("kvm-1 libvirtd")
    restart = f"os.kill({pid}, 15); __import__('subprocess').run({[LAB, 'up', '--hosts', '2']!r}, capture_output=True)"
    cut = fleet.reconcile_with(restart)
    assert cut.code == 69, cut
    assert "is libvirtd running?" in cut.err
    with closing(libvirt.open(fleet.env["LIBVIRT_DEFAULT_URI"])) as connection:
        replace(fleet, connection=connection).converges()


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """A file system of its own at the folder, with not a block left."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "virtrbd-test", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(file: Path) -> None:
    with suppress(OSError), file.open("wb", buffering=0) as stream:
        while True:
            stream.write(bytes(4096))
    with (
        pytest.raises(OSError, match=os.strerror(errno.ENOSPC)),
        file.with_name("more").open("wb", buffering=0) as more,
    ):
        more.write(bytes(4096))


def test_a_full_state_directory(fleet: Fleet) -> None:
    fleet.state.mkdir()
    fleet.set(textfile=str(fleet.folder / "virtrbd.prom"))
    with full_disk(fleet.state):
        a = fleet.spec("a")
        fleet.converges()
        fill(fleet.state / "ballast")
        b = fleet.spec("b")
        fleet.domain(a).setAutostart(1)
        full = fleet.reconcile()
        assert (full.code, full.out) == (5, f"{a}: set autostart off\n"), full
        assert f"{b}: FAILED: create image vms/{b}.vda (8 MiB): " in full.err
        assert f"{os.strerror(errno.ENOSPC)}; free space, or set state_dir to another place" in full.err
        assert f"{b}.vda" not in rbd.RBD().list(fleet.vms), "no image without an intent"
        assert "virtrbd_reconcile_exit_code 5.0" in (fleet.folder / "virtrbd.prom").read_text()
        (fleet.specs / f"{b}.yaml").unlink()
        # Nothing is to be done: the full disk is no reason for a word, but that the last success is not kept.
        quiet = fleet.reconcile()
        assert (quiet.code, quiet.out) == (0, ""), quiet
        assert all(os.strerror(errno.ENOSPC) in line for line in quiet.err.splitlines()), quiet
        fleet.spec("b")
        (fleet.state / "ballast").unlink()
        fleet.converges()


def test_corrupt_caches_and_state_files(fleet: Fleet) -> None:
    a = fleet.spec("a")
    fleet.converges()
    before = {file: file.read_bytes() for file in (fleet.folder / "cache").rglob("*") if file.is_file()}
    assert len(before) >= 2
    for garbage in (b"", b"{}\n{}", os.urandom(300)):
        for file in before:
            file.write_bytes(garbage)
        fleet.is_in_sync()
    # One that was cut short, and one of another entry.
    files = list(before)
    for file, other in zip(files, files[1:] + files[:1], strict=True):
        file.write_bytes(before[other])
    fleet.is_in_sync()
    for file in (fleet.state / "definitions").iterdir():
        file.write_text('{"xml": ')
    xml = re.sub("<vcpu.*</vcpu>", "<vcpu>3</vcpu>", fleet.xml(a))
    fleet.connection.defineXML(xml)
    found = fleet.reconcile()
    assert (found.code, found.err) == (0, "")
    assert f"{a}: edit definition (/vcpu" in found.out
    fleet.is_in_sync()


def test_a_clock_that_jumps(fleet: Fleet) -> None:
    """Times in files that lie in the past or in the future cost a question at most, never data."""
    a, early, late = fleet.spec("a"), fleet.spec("b"), fleet.spec("c")
    (fleet.state / "intents").mkdir(parents=True)
    for name, ahead_s in ((early, 4), (late, 3600)):
        rbd.RBD().create(fleet.vms, f"{name}.vda", 8 * MIB)
        with rbd.Image(fleet.vms, f"{name}.vda", read_only=True) as image:
            made_at = image.create_timestamp().replace(tzinfo=UTC).timestamp()
        # A run that wrote its intent, made the image, and was killed before it could mark it.
        [owner] = re.findall("<uuid>(.*)</uuid>", fleet.run("render", f"specs/{name}.yaml").out)
        intent = {
            "ref": f"vms/{name}.vda", "domain_uuid": owner,
            "size_bytes": 8 * MIB, "parent": "", "nonce": "n", "written_at": made_at + ahead_s, "importing": False,
        }  # fmt: skip
        (fleet.state / f"intents/vms%2F{name}.vda").write_text(json.dumps(intent))
    run = fleet.reconcile()
    assert run.code == 4, run
    assert f"{early}: define domain" in run.out, "five seconds of tolerance between two clocks"
    assert re.search(rf"^{late}: BLOCKED: .*needs --allow takes-over$", run.err, re.MULTILINE), run
    allowed = fleet.reconcile("--allow", "takes-over")
    assert allowed.code == 0, allowed
    assert os.listdir(fleet.state / "intents") == []
    fleet.is_in_sync()
    # Held for an hour; then the clock jumps on by two.
    assert fleet.run("hold", a, "--until", "1h").code == 0
    fleet.domain(a).setAutostart(1)
    [line] = fleet.reconcile().said
    assert line.startswith(f"{a}: held: left alone until ")
    xml = re.sub(r"until=(['\"])[0-9.]+", lambda m: f"until={m[1]}{time.time() - 3600}", fleet.xml(a))
    fleet.connection.defineXML(xml)
    assert f"{a}: set autostart off\n" in fleet.reconcile().out
    fleet.is_in_sync()
    # A success in the future, as before a clock was set back: the next one is told as it is.
    (fleet.state / "reconcile").mkdir(exist_ok=True)
    (fleet.state / "reconcile/last-success").write_text(repr(time.time() + 1e6))
    file = fleet.folder / "virtrbd.prom"
    assert fleet.reconcile("--textfile", str(file)).said == []
    [success] = re.findall(r"^virtrbd_reconcile_last_success_timestamp_seconds (.*)$", file.read_text(), re.MULTILINE)
    assert abs(float(success) - time.time()) < 60
