"""virsh at every moment: what it did is seen, respected or put back, and its own domains are dealt with by name.

The disks are empty: a QEMU in its BIOS is all the guest that these tests need. A guest that shuts down or reboots when
it is asked to is in test_buses.py.
"""

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

import pytest
from support.lab import LabHost

DISK = "disks:\n  - size: 16M\n"


@pytest.fixture
def spec(host: LabHost, name: str) -> str:
    """The spec file of a domain that is defined and shut off."""
    file = host.spec(name, DISK)
    host.ok("virtrbd", "define", file)
    return str(file)


def as_json(host: LabHost, *words: str, code: int = 0) -> dict[str, Any]:
    done = host.virtrbd(*words, "--output", "json")
    assert done.returncode == code, done.stdout + done.stderr
    return dict(json.loads(done.stdout))


def listed(host: LabHost, name: str) -> dict[str, Any]:
    [found] = [domain for domain in as_json(host, "list")["domains"] if domain["name"] == name]
    return dict(found)


def seen(host: LabHost, name: str, state: str) -> None:
    """Both verbs that look see this state, and virtrbd still knows the domain as its own."""
    assert (listed(host, name)["state"], listed(host, name)["owned"]) == (state, True)
    found = host.inspect(name)
    assert (found["state"], found["owned"]) == (state, True)


def nothing_to_do(host: LabHost, *words: str) -> None:
    done = host.virtrbd("define", *words)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout.endswith(": nothing to do\n"), done.stdout
    assert done.stdout.count("\n") == 1


def refused(host: LabHost, code: int, *words: str) -> str:
    done = host.virtrbd(*words)
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    return str(done.stderr)


def running_mark(host: LabHost, name: str) -> str:
    """What the image says of the host that runs it, empty when nobody does."""
    return str(host.run("rbd", "image-meta", "get", f"vms/{name}.vda", "virtrbd.running").stdout.strip())


def test_started_by_virsh(host: LabHost, name: str, spec: str) -> None:
    host.ok("virsh", "start", name)
    seen(host, name, "running")
    assert len(host.inspect(name)["disks"][0]["watchers"]) == 1
    nothing_to_do(host, spec)
    nothing_to_do(host, "--start", spec)
    assert as_json(host, "start", name) == {"schema": 1, "name": name, "state": "running", "changed": False}
    host.ok("virtrbd", "destroy", name, "--allow", "interrupts-guest")
    assert host.ok("virsh", "domstate", name).strip() == "shut off"


def test_destroyed_by_virsh(host: LabHost, name: str, spec: str) -> None:
    host.ok("virtrbd", "start", name)
    host.ok("virsh", "destroy", name)
    seen(host, name, "shut off")
    assert running_mark(host, name), "virsh tells nobody that it stopped"
    nothing_to_do(host, spec)
    assert running_mark(host, name) == "", "virtrbd looked, and says it in virsh's place"
    assert as_json(host, "shutdown", name)["changed"] is False
    assert host.ok("virtrbd", "define", "--start", spec) == f"{name}: start domain\n"


def test_asked_to_shut_down_by_virsh_and_deaf(host: LabHost, name: str, spec: str) -> None:
    host.ok("virtrbd", "start", name)
    host.ok("virsh", "shutdown", name, "--mode", "acpi")
    seen(host, name, "running")
    nothing_to_do(host, "--start", spec)


def test_suspended_by_virsh(host: LabHost, name: str, spec: str) -> None:
    """A paused guest holds its disks and hears nothing: no verb takes it for running or for off."""
    host.ok("virtrbd", "start", name)
    host.ok("virsh", "suspend", name)
    seen(host, name, "paused")
    nothing_to_do(host, spec)
    for words in (("start", name), ("shutdown", name), ("reboot", name)):
        assert refused(host, 5, *words) == f"{name}: is paused; virsh resume {name} resumes it\n"
    assert "is paused" in refused(host, 5, "undefine", name)
    assert refused(host, 4, "destroy", name)
    seen(host, name, "paused")
    host.ok("virsh", "resume", name)
    seen(host, name, "running")
    host.ok("virsh", "suspend", name)
    host.ok("virtrbd", "destroy", name, "--allow", "interrupts-guest")
    seen(host, name, "shut off")


@pytest.mark.timeout(120)
def test_saved_by_virsh(host: LabHost, name: str, spec: str) -> None:
    """A managed save is off, but holds memory that belongs to its disks as they are."""
    host.ok("virtrbd", "start", name)
    host.ok("virsh", "managedsave", name)
    seen(host, name, "saved")
    off = f"{name}: managed save: off, and holds the guest's memory; virtrbd start {name} resumes it\n"
    assert host.ok("virtrbd", "define", spec) == off
    before = host.ok("virsh", "dumpxml", "--inactive", name)
    host.spec(name, f"vcpus: 2\n{DISK}")
    done = host.virtrbd("define", spec)
    assert (done.returncode, done.stdout) == (4, off)
    assert done.stderr.startswith(
        f"{name}: BLOCKED: edit definition (/vcpu: 1 -> 2): waits, because the domain holds a "
    )
    assert f"start it to resume, or drop the save with virsh managedsave-remove {name}" in done.stderr
    assert host.ok("virsh", "dumpxml", "--inactive", name) == before

    assert "managedsave-remove" in refused(host, 5, "undefine", name, "--trash-images")
    assert f"start it with virtrbd start {name}" in refused(host, 5, "reboot", name)
    held_by = running_mark(host, name)
    assert held_by
    for words in (("shutdown", name), ("destroy", name, "--allow", "interrupts-guest")):
        assert refused(host, 5, *words).startswith(f"{name}: holds a managed save; resume it with virtrbd start {name}")
    assert running_mark(host, name) == held_by, "another host must not start on these disks"
    seen(host, name, "saved")

    assert host.ok("virtrbd", "start", name) == f"{name}: started\n"
    seen(host, name, "running")
    # libvirt removes a save as it resumes from it; a fresh boot would have left it there.
    assert "takes effect at the next boot" in host.ok("virtrbd", "define", spec)
    host.ok("virtrbd", "destroy", name, "--allow", "interrupts-guest")
    seen(host, name, "shut off")
    assert running_mark(host, name) == ""


def test_a_save_that_virsh_dropped(host: LabHost, name: str, spec: str) -> None:
    host.ok("virtrbd", "start", name)
    host.ok("virsh", "managedsave", name)
    host.ok("virsh", "managedsave-remove", name)
    seen(host, name, "shut off")
    host.spec(name, f"vcpus: 2\n{DISK}")
    assert host.ok("virtrbd", "define", spec) == f"{name}: edit definition (/vcpu: 1 -> 2)\n"


def test_undefined_by_virsh(host: LabHost, name: str, spec: str) -> None:
    before = host.inspect(name)
    image_id = as_json(host, "image", "info", f"vms/{name}.vda")["image"]["id"]
    host.ok("virsh", "undefine", name)
    assert "no such domain on this host; see virtrbd list" in refused(host, 5, "inspect", name)
    assert host.ok("virtrbd", "define", spec) == f"{name}: define domain\n"
    after = host.inspect(name)
    assert after == before
    assert after["disks"][0]["owned"] is True
    assert as_json(host, "image", "info", f"vms/{name}.vda")["image"]["id"] == image_id, "the same image, not a new one"
    nothing_to_do(host, spec)


def test_undefined_by_virsh_while_it_runs(host: LabHost, name: str, spec: str) -> None:
    """libvirt lets it run on without a definition; it gets the one back that it had, under the running guest."""
    host.ok("virsh", "desc", name, "--config", "--title", "theirs")
    host.ok("virtrbd", "start", name)
    host.ok("virtrbd", "define", spec)
    before, qemu = host.ok("virsh", "dumpxml", "--inactive", name), host.ok("virsh", "domid", name)
    host.ok("virsh", "undefine", name)
    again = f"{name}: define again; it was undefined while its guest runs\n"
    assert host.run("virtrbd", "plan", spec).stdout.startswith(again.replace(": ", ": would ", 1))
    assert host.ok("virtrbd", "define", spec).startswith(again)
    assert host.ok("virsh", "domid", name) == qemu, "the guest never noticed"
    assert host.ok("virsh", "dumpxml", "--inactive", name) == before, "addresses and devices of others too"
    assert host.ok("virtrbd", "define", spec).startswith(f"{name}: changed by others: /title: absent -> theirs")


def test_a_running_guest_that_is_undefined_and_stopped(host: LabHost, name: str, spec: str) -> None:
    host.ok("virtrbd", "start", name)
    host.ok("virsh", "undefine", name)
    seen(host, name, "running")
    assert "shut it down first" in refused(host, 5, "undefine", name)
    host.ok("virtrbd", "destroy", name, "--allow", "interrupts-guest")
    assert name not in host.ok("virsh", "list", "--all", "--name").split()
    assert running_mark(host, name) == "", "the end of a transient domain is a clean stop too"
    assert host.ok("virtrbd", "define", spec) == f"{name}: define domain\n"
    assert host.inspect(name)["disks"][0]["owned"] is True


def test_renamed_by_virsh(host: LabHost, name: str, spec: str) -> None:
    uuid = host.inspect(name)["uuid"]
    new = f"{name}new"
    host.ok("virsh", "domrename", name, new)
    for words in ((spec,), ("--start", spec), (spec, "--allow", "takes-over,loses-data")):
        said = refused(host, 65, "define", *words)
        assert f"{spec}:1: {name}: renamed to {new} (UUID {uuid}); rename it back with virsh domrename" in said
    seen(host, new, "shut off")
    assert name not in host.ok("virsh", "list", "--all", "--name").split()
    host.ok("virsh", "domrename", new, name)
    nothing_to_do(host, spec)


# Changes a domain behind virtrbd's back.
Tamper = Callable[[LabHost, str], object]


def by_edit(old: str, new: str) -> Tamper:
    """`virsh edit`: dump, change, define."""

    def edit(host: LabHost, name: str) -> None:
        xml = host.ok("virsh", "dumpxml", "--inactive", name)
        assert old in xml
        (host.folder / "edited.xml").write_text(xml.replace(old, new))
        host.ok("virsh", "define", "edited.xml")

    return edit


def by_virsh(*words: str) -> Tamper:
    return lambda host, name: host.ok("virsh", words[0], name, *words[1:])


# What virsh changes, and how the line begins that define prints as it puts back the value that the spec states.
TAMPERINGS = {
    "setmaxmem": (by_virsh("setmaxmem", "262144", "--config"), "edit definition (/memory: 262144 -> 131072)"),
    "setmem": (by_virsh("setmem", "65536", "--config"), "edit definition (/currentMemory: 65536 -> 131072)"),
    "setvcpus": (by_virsh("setvcpus", "1", "--config"), "edit definition (/vcpu/@current: 1 -> absent)"),
    "setvcpus of more": (
        # Taking the maximum back alone would leave more vcpus than the maximum, which libvirt refuses.
        lambda host, name: (
            by_virsh("setvcpus", "4", "--config", "--maximum")(host, name),
            by_virsh("setvcpus", "3", "--config")(host, name),
        ),
        "edit definition (/vcpu: 4 -> 2",
    ),
    "autostart": (by_virsh("autostart"), "set autostart off"),
    "edit vcpu": (by_edit(">2</vcpu>", ">3</vcpu>"), "edit definition (/vcpu: 3 -> 2)"),
    "edit cache": (
        by_edit("cache='writeback'", "cache='unsafe'"),
        "edit definition (/devices/disk:vda/driver/@cache: unsafe -> writeback)",
    ),
    "edit discard": (
        by_edit(" discard='unmap'", ""),
        "edit definition (/devices/disk:vda/driver/@discard: absent -> unmap)",
    ),
}


@pytest.mark.parametrize("what", TAMPERINGS)
def test_a_stated_value_that_virsh_changed_is_put_back(host: LabHost, name: str, what: str) -> None:
    tamper, line = TAMPERINGS[what]
    spec = host.spec(name, f"vcpus: 2\n{DISK}")
    host.ok("virtrbd", "define", spec)
    before = held(host, name)
    tamper(host, name)
    assert held(host, name) != before
    done = host.virtrbd("define", spec)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{name}: {line}")
    assert done.stdout.count("\n") == 1
    assert held(host, name) == before
    nothing_to_do(host, spec)


def held(host: LabHost, name: str) -> list[str]:
    """What libvirt holds of the domain, and whether it starts with the host; without our mark, devices in any order."""
    root = ET.fromstring(host.ok("virsh", "dumpxml", "--inactive", name))
    parts = [child for child in root if child.tag not in ("metadata", "devices")] + list(root.iterfind("devices/*"))
    texts = [ET.canonicalize(ET.tostring(part, encoding="unicode"), strip_text=True) for part in parts]
    return [*sorted(texts), f"autostart {listed(host, name)['autostart']}"]


def test_an_autostart_that_virsh_ended_comes_back(host: LabHost, name: str) -> None:
    spec = host.spec(name, f"autostart: true\n{DISK}")
    host.ok("virtrbd", "define", spec)
    host.ok("virsh", "autostart", "--disable", name)
    assert listed(host, name)["autostart"] is False
    assert host.ok("virtrbd", "define", spec) == f"{name}: set autostart on\n"
    assert listed(host, name)["autostart"] is True
    nothing_to_do(host, spec)


def test_what_the_spec_has_no_word_for_stays_as_virsh_left_it(host: LabHost, name: str, spec: str) -> None:
    host.ok("virsh", "desc", name, "--config", "by hand")
    told = f"{name}: changed by others: /description: absent -> by hand; left alone (virtrbd ignore {name} /description"
    assert host.ok("virtrbd", "define", spec).startswith(told)
    host.spec(name, f"vcpus: 2\n{DISK}")
    host.ok("virtrbd", "define", spec)
    assert host.ok("virsh", "desc", name, "--config").strip() == "by hand"


@pytest.fixture
def foreign(host: LabHost, name: str) -> str:
    """A domain that virsh defined, on an image that rbd made: virtrbd has no mark on either."""
    host.ok("virtrbd", "define", host.spec(f"{name}ours", DISK))
    ours = host.ok("virsh", "dumpxml", "--inactive", f"{name}ours")
    host.ok("rbd", "create", "--size", "16M", f"vms/{name}.vda")
    # The disk of ours, with its monitors and its secret, but with the other image.
    [disk] = re.findall(r"<disk .*?</disk>", ours, re.DOTALL)
    disk = disk.replace(f"{name}ours.vda", f"{name}.vda")
    (host.folder / "foreign.xml").write_text(
        f"<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory>"
        "<os><type machine='q35'>hvm</type></os><features><acpi/></features>"
        f"<devices>{disk}<serial type='pty'/></devices></domain>"
    )
    host.ok("virsh", "define", "foreign.xml")
    return str(name)


def test_verbs_act_on_a_domain_of_virshs_and_leave_no_mark(host: LabHost, foreign: str) -> None:
    before = host.ok("virsh", "dumpxml", "--inactive", foreign)
    assert (listed(host, foreign)["owned"], host.inspect(foreign)["owned"]) == (False, False)
    changed = {"schema": 1, "name": foreign, "changed": True}
    assert as_json(host, "start", foreign) == {**changed, "state": "running"}
    assert host.inspect(foreign)["disks"][0]["owned"] is False
    assert as_json(host, "console", foreign)["pty"].startswith("/dev/pts/")
    assert as_json(host, "reboot", foreign)["asked"] == "reboot"
    assert "did not shut down within 1 s" in refused(host, 5, "shutdown", foreign, "--timeout", "1")
    assert "--allow interrupts-guest" in refused(host, 4, "destroy", foreign)
    assert as_json(host, "destroy", foreign, "--allow", "interrupts-guest") == {**changed, "state": "shut off"}
    assert host.ok("virsh", "dumpxml", "--inactive", foreign) == before


def test_undefine_of_a_domain_of_virshs_needs_takes_over_and_keeps_its_image(host: LabHost, foreign: str) -> None:
    assert refused(host, 4, "undefine", foreign, "--trash-images") == (
        f"{foreign}: is not virtrbd's; --allow takes-over undefines it anyway\n"
    )
    assert listed(host, foreign)["state"] == "shut off"
    done = host.ok("virtrbd", "undefine", foreign, "--trash-images", "--allow", "takes-over")
    assert done == f"{foreign}: undefined\n"
    assert foreign not in host.ok("virsh", "list", "--all", "--name").split()
    assert f"{foreign}.vda" in host.ok("rbd", "ls", "vms").split(), "not ours, so not ours to throw away"


def test_an_image_of_an_earlier_spec_is_named_when_its_domain_is_retired(host: LabHost, name: str) -> None:
    spec = host.spec(name, f"{DISK}  - size: 8M\n")
    host.ok("virtrbd", "define", spec)
    host.spec(name, DISK)
    host.ok("virtrbd", "define", spec, "--allow", "interrupts-guest")
    line = (
        f"{name}: image vms/{name}.vdb is kept: an earlier spec gave it to the domain; virtrbd image remove vms/{name}."
    )
    assert line in host.run("virtrbd", "remove", name).stdout
    retired = as_json(host, "remove", name, "--allow", "forgets-domain,loses-data")
    assert retired["images_left"] == [f"vms/{name}.vdb"]
    assert f"{name}.vdb" in host.ok("rbd", "ls", "vms").split()
    host.ok("virtrbd", "image", "remove", f"vms/{name}.vdb")
