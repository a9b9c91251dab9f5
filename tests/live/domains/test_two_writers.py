"""Two guests on one image, the second started past the gate: each host says so, names both, and touches nothing."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import rbd
from support.lab import LabHost
from support.waiting import eventually
from support.worlds import LabWorld

from virtrbd.domainxml.defined import DefinedDomain
from virtrbd.domainxml.document import Definition, LiveDocument
from virtrbd.engine.writers import two_writers_texts
from virtrbd.images.host import Host
from virtrbd.model.power import PowerState
from virtrbd.specs.settings import load_settings

BARE = "disks:\n  - size: 16M\n"


def test_a_second_guest_past_the_gate_is_reported_on_both_hosts(hosts: tuple[LabHost, LabHost], name: str) -> None:
    first, second = hosts
    specs = [host.spec(name, BARE) for host in hosts]
    for host in hosts:
        host.ok("virtrbd", "define", specs[0], "--allow", "takes-over")
    first.spec(f"{name}.kvm-1", f"title: new\n{BARE}")
    first.ok("virtrbd", "start", name)
    second.ok("virsh", "start", name)
    image = f"vms/{name}.vda"
    assert len(first.watchers(image)) == 2
    metadata = first.ok("rbd", "image-meta", "list", image)
    for host in hosts:
        host.spec(name, f"title: changed\n{BARE}")
    allow = ("--allow", "takes-over,interrupts-guest,loses-data")
    for host, words, code in (
        (first, ("reconcile", ".", *allow), 5),
        (first, ("start", name), 5),
        (second, ("plan", specs[0]), 5),
        (second, ("inspect", name), 0),
    ):
        done = host.virtrbd(*words)
        assert done.returncode == code, (host.name, words, done)
        [said] = [line for line in (done.stdout + done.stderr).splitlines() if f"two guests have image {image}" in line]
        assert "kvm-1" in said, (host.name, words, done)
        assert "kvm-2" in said, (host.name, words, done)
        assert said.count("client.") == 2, said
    assert f"{name}.kvm-1" in first.ok("virsh", "list", "--all", "--name"), "the others go on"
    assert "changed" not in first.ok("virsh", "dumpxml", name)
    assert first.ok("rbd", "image-meta", "list", image) == metadata
    assert len(first.watchers(image)) == 2

    second.ok("virtrbd", "destroy", name, "--allow", "interrupts-guest")
    assert first.virtrbd("plan", specs[0]).returncode == 3
    refused = second.virtrbd("--config", second.settings_with(watcher=0), "start", name, "--allow", "takes-over")
    assert refused.returncode == 5, refused
    assert "(the image's marks name host kvm-1 (" in refused.stderr


def test_a_client_that_is_no_guest_is_named_as_another_client(host: LabHost, name: str) -> None:
    spec, image = host.spec(name, BARE), f"vms/{name}.vda"
    host.ok("virtrbd", "define", "--start", spec)
    env = host.env()
    # An export only reads, and is no watcher; nobody takes what this one writes.
    export = subprocess.Popen(["rbd", "export", image, "-"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert export.stdout
        assert export.stdout.read(1)
        assert host.virtrbd("plan", spec).returncode == 0
    finally:
        export.kill()
        export.communicate()
    target = f"rbd:{image}:id=virtrbd:conf={env['CEPH_CONF']}"
    tool = subprocess.Popen(["qemu-io", "-f", "raw", target], env=env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        eventually("qemu-io to watch its image", lambda: len(host.watchers(image)) == 2)
        # It might be what a crash left, so it is given its time.
        done = host.virtrbd("--config", host.settings_with(watcher=2), "plan", spec)
        [told] = json.loads(host.ok("virtrbd", "inspect", name, "--output", "json"))["domain"]["two_writers"]
    finally:
        tool.communicate(b"quit\n", timeout=20)
    assert done.returncode == 5, done
    assert f"another client has image {image} open beside the guest of this host, kvm-1: client." in done.stdout
    assert told.startswith("another client has image")
    assert host.virtrbd("plan", spec).returncode == 0


def test_the_writers_of_an_image_here_are_not_told_of_a_disk_of_another_cluster(
    make_world: Callable[[str], LabWorld], name: str, lab: Path
) -> None:
    first, second = make_world("kvm-1"), make_world("kvm-2")
    rbd.RBD().create(first.vms, name, 1 << 20)
    config = load_settings(f"{lab}/hosts/kvm-1/virtrbd.yaml")
    with (
        Host.connect(config, frozenset(), print, print, needs_libvirt=True) as host,
        rbd.Image(first.vms, name),
        rbd.Image(second.vms, name),
    ):

        def told(monitor: str) -> int:
            source = f"<source protocol='rbd' name='vms/{name}'><host name='{monitor}'/></source>"
            live = f"<domain><devices><disk type='network'>{source}<target dev='vda'/></disk></devices></domain>"
            domain = DefinedDomain(
                name=name, uuid="u", state=PowerState.RUNNING, definition=Definition(live), live=LiveDocument(live)
            )
            return len(two_writers_texts(host, domain))

        assert (told("127.0.0.1"), told("10.9.9.9")) == (1, 0)
