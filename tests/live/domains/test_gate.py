"""The start gate on a real stack: never two guests on one image, whoever starts them, and when."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import rbd
from support.lab import LabHost
from support.waiting import eventually
from support.worlds import LabWorld

ROUNDS = 50
# Domains that are raced for side by side: ending a QEMU takes 2 s in which nothing else would happen.
LANES = 5

# virtrbd with everything imported, waiting for the word: two of them then start within the same millisecond.
WARM = """
import sys
from virtrbd.__main__ import main
import virtrbd.commands.connected.host, virtrbd.engine.perform, virtrbd.specs.settings_schema

print("ready", flush=True)
sys.stdin.readline() or sys.exit("not told to go")
main()
"""


def define_bare(host: LabHost, name: str, *more: str) -> None:
    """Define a domain whose disk is empty: QEMU sits in its BIOS, and that is all these tests need."""
    host.ok("virtrbd", "define", host.spec(name, "disks:\n  - size: 16M\n"), *more)


def qemus(name: str) -> list[int]:
    """Return the pids of all QEMUs of that domain, on whatever host of the lab."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if f"guest={name},debug-threads=on".encode() in words and state != "Z":
                found.append(int(entry.name))
    return found


@pytest.mark.alone
@pytest.mark.timeout(180)
def test_two_hosts_at_once_never_start_two_guests(hosts: tuple[LabHost, LabHost], name: str) -> None:
    environments = [{**host.env(), "VIRTRBD_CONFIG": host.settings_with(watcher=1.5)} for host in hosts]
    names = [f"{name}{lane}" for lane in range(LANES)]
    for lane in names:
        for host in hosts:
            define_bare(host, lane, "--allow", "takes-over")
    with ThreadPoolExecutor(LANES) as pool:
        lanes = pool.map(lambda lane: [race(lane, environments) for _ in range(ROUNDS // LANES)], names)
        started = [guests for lane in lanes for guests in lane]
    # Two that meet let go and come back at different moments: only rarely do both give up.
    assert started.count(1) >= ROUNDS * 0.8, started


def race(name: str, environments: list[dict[str, str]]) -> int:
    """Let both hosts start the domain at once; return how many guests that made, and end them."""
    argv = [sys.executable, "-c", WARM, "start", name, "--allow", "takes-over"]
    pipe = subprocess.PIPE
    pair = [subprocess.Popen(argv, env=env, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for env in environments]
    try:
        for run in pair:
            assert run.stdout
            assert run.stdout.readline() == "ready\n"
        for run in pair:
            assert run.stdin
            run.stdin.write("go\n")
            run.stdin.flush()
        answers = [run.communicate(timeout=30) for run in pair]
    finally:
        for run in pair:
            run.kill()
    running, codes = qemus(name), [run.returncode for run in pair]
    for env, code in zip(environments, codes, strict=True):
        if code == 0:
            subprocess.run(["virsh", "destroy", name], env=env, check=True, capture_output=True)
    assert len(running) <= 1, f"two guests on one image: {running}, {answers}"
    assert codes.count(0) == len(running), answers
    assert set(codes) <= {0, 5}, answers
    return len(running)


@pytest.fixture
def held(host: LabHost, name: str) -> Iterator[str]:
    """An image that qemu-io holds open read-write."""
    define_bare(host, name)
    image = f"vms/{name}.vda"
    env = host.env()
    target = f"rbd:{image}:id=virtrbd:conf={env['CEPH_CONF']}"
    holder = subprocess.Popen(
        ["qemu-io", "-f", "raw", target], env=env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    eventually("qemu-io to watch its image", lambda: host.watchers(image))
    yield image
    holder.communicate(b"quit\n", timeout=20)


def test_an_image_that_another_client_holds_is_refused_by_name(host: LabHost, name: str, held: str) -> None:
    [watcher] = host.watchers(held)
    done = host.virtrbd("--config", host.settings_with(watcher=1), "start", name)
    assert done.returncode == 5, done.stdout + done.stderr
    [client] = re.findall(r"client\.\d+", host.ok("rbd", "status", held))
    assert f"image {held} is open by {client} at {watcher.split('/')[0]}" in done.stderr
    assert "still after 1 s; not started" in done.stderr
    assert "Traceback" not in done.stderr
    assert host.inspect(name)["state"] == "shut off"
    assert qemus(name) == []


def test_define_start_goes_through_the_gate_too(host: LabHost, name: str, held: str) -> None:
    done = host.virtrbd("--config", host.settings_with(watcher=0), "define", "--start", f"{name}.yaml")
    assert done.returncode == 5, done.stdout + done.stderr
    assert f"FAILED: start domain: image {held} is open by client." in done.stderr
    assert qemus(name) == []


def test_a_start_waits_out_the_watch_of_a_killed_qemu(host: LabHost, name: str) -> None:
    define_bare(host, name)
    host.ok("virtrbd", "start", name)
    [pid] = qemus(name)
    os.kill(pid, signal.SIGKILL)
    # Quickly: its watch lasts five seconds more.
    eventually("the killed QEMU to be gone", lambda: host.ok("virsh", "domstate", name).strip() == "shut off")
    done = host.virtrbd("start", name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == f"{name}: started\n"
    assert re.search(
        rf"image vms/{name}\.vda is open by client\.\d+ at \S+; waiting up to 15 s in case a crash left it behind",
        done.stderr,
    )
    assert len(qemus(name)) == 1


@pytest.mark.parametrize("stop", ["shutdown", "destroy"])
def test_a_start_elsewhere_needs_a_clean_stop(
    hosts: tuple[LabHost, LabHost], name: str, stop: str, golden: str
) -> None:
    """Killed with virsh, the first host never says that it stopped: only virtrbd's own stop frees the image."""
    first, second = hosts
    spec = f"disks:\n  - clone: {golden}\n" if stop == "shutdown" else "disks:\n  - size: 16M\n"
    for host in hosts:
        host.ok("virtrbd", "define", host.spec(name, spec), "--allow", "takes-over")
    first.ok("virtrbd", "start", name)
    first.ok("virsh", "destroy", name)
    for words in (["start", name], ["define", "--start", f"{name}.yaml", "--allow", "loses-data"]):
        refused = second.virtrbd(*words)
        assert refused.returncode == 4, refused.stdout + refused.stderr
        assert "takes-over" in refused.stderr
    assert qemus(name) == []
    first.ok("virtrbd", "start", name)
    stop_cleanly(first, name, stop)
    second.ok("virtrbd", "start", name)
    assert second.inspect(name)["state"] == "running"
    # And now it is the other way round.
    second.ok("virsh", "destroy", name)
    assert first.virtrbd("start", name).returncode == 4
    assert first.virtrbd("start", name, "--allow", "takes-over").returncode == 0


def stop_cleanly(host: LabHost, name: str, stop: str) -> None:
    if stop == "destroy":
        host.ok("virtrbd", "destroy", name, "--allow", "interrupts-guest")
        return
    give_up_at = time.monotonic() + 50
    # A guest that is not up yet does not hear the button; it is asked again.
    while host.virtrbd("shutdown", name, "--timeout", "5").returncode:
        assert time.monotonic() < give_up_at, "the guest never shut down"


def test_an_image_named_by_other_monitors_is_looked_at_where_one_of_that_name_is_here(
    world: LabWorld, name: str
) -> None:
    """Behind NAT monitors have other addresses, and the guest writes to this cluster all the same."""
    host = world.host
    define_bare(host, name)
    elsewhere = re.sub(r"<host name=['\"][^'\"]*['\"]", "<host name='10.9.9.9'", host.ok("virsh", "dumpxml", name))
    (host.folder / "elsewhere.xml").write_text(elsewhere)
    host.ok("virsh", "define", "elsewhere.xml")
    short = {**world.env, "VIRTRBD_CONFIG": host.settings_with(watcher=0.5)}
    with rbd.Image(world.vms, f"{name}.vda"):
        refused = replace(world, env=short).virtrbd("start", name)
    assert (refused.returncode, qemus(name)) == (5, []), refused
    assert "would destroy the disk" in refused.stderr


def test_a_detached_disk_keeps_the_claim_of_another_host(host: LabHost, name: str) -> None:
    # Of the SCSI bus a disk goes at once, whatever the guest does.
    disk = "  - {size: 16M, bus: scsi}\n"
    spec, image = host.spec(name, f"disks:\n{disk}{disk}"), f"vms/{name}.sdb"
    host.ok("virtrbd", "define", "--start", spec)
    claim = json.loads(host.ok("rbd", "image-meta", "get", image, "virtrbd.running"))
    claimed = json.dumps({**claim, "host": str(uuid.uuid4())})
    host.ok("rbd", "image-meta", "set", image, "virtrbd.running", claimed)
    host.spec(name, f"disks:\n{disk}")
    assert f"{name}: detach disk sdb" in host.ok("virtrbd", "reconcile", spec, "--allow", "interrupts-guest")
    assert "sdb" not in host.ok("virsh", "domblklist", name)
    assert host.ok("rbd", "image-meta", "get", image, "virtrbd.running").strip() == claimed
