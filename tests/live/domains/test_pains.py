"""What hurts people who use other declarative tools for libvirt, each named after it: here it does not happen.

One running domain and one that is off carry most of it; the guests sit in their firmware.

Three of them have no test of that name here. That RBD is an afterthought: all live tests run on it alone. That imports
are slow is measured by tools/bench images. That what libvirt writes into a definition is a difference for ever is held
for every kind of machine in test_machines.py and for every case of tests/cases; here for one that has most of it.
"""

import json
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.lab import LabHost
from support.operators import Operator

DISK = "disks:\n  - size: 16M\n"


@pytest.fixture
def running(host: LabHost, name: str) -> str:
    """The spec file of a domain whose guest runs."""
    spec = host.spec(name, DISK)
    host.ok("virtrbd", "define", "--start", spec)
    return str(spec)


@pytest.fixture
def spec(host: LabHost, name: str) -> str:
    """The spec file of a domain that is off."""
    file = host.spec(name, DISK)
    host.ok("virtrbd", "define", file)
    return str(file)


def qemu_of(host: LabHost, name: str) -> str:
    return str(host.ok("virsh", "domid", name).strip())


def definition(host: LabHost, name: str) -> str:
    return str(host.ok("virsh", "dumpxml", "--inactive", name))


def test_a_cron_run_restarts_guests_and_an_update_is_a_power_cut(host: LabHost, name: str, running: str) -> None:
    before = qemu_of(host, name)
    assert host.ok("virtrbd", "reconcile", running) == "", "nothing was to be done, and cron sends no mail"
    host.spec(name, "vcpus: 2\ntitle: shop\ndisks:\n  - {size: 24M, cache: none}\n  - size: 16M\n")
    told = host.ok("virtrbd", "reconcile", running)
    assert f"{name}: grow image vms/{name}.vda from 16 MiB to 24 MiB" in told
    assert f"{name}: attach disk vdb" in told
    assert f"{name}: pending restart: /vcpu: 1 -> 2" in told
    assert qemu_of(host, name) == before
    assert host.ok("virtrbd", "reconcile", running) == "", "what waits for a restart is told once"


def test_a_typo_in_the_disks_unplugs_one_at_3_am(host: LabHost, name: str, running: str) -> None:
    host.spec(name, f"{DISK}  - size: 16M\n")
    host.ok("virtrbd", "reconcile", running)
    host.spec(name, DISK)
    before = definition(host, name)
    done = host.virtrbd("reconcile", running)
    assert (done.returncode, done.stdout) == (4, "")
    assert f"{name}: BLOCKED: detach disk vdb" in done.stderr
    assert "needs --allow interrupts-guest" in done.stderr
    assert definition(host, name) == before
    assert "vdb" in host.ok("virsh", "domblklist", name)
    again = host.virtrbd("reconcile", running)
    assert (again.returncode, again.stdout, again.stderr) == (4, "", ""), "told once, and still no success"


def test_a_failed_update_loses_the_definition(host: LabHost, name: str) -> None:
    """libvirt refuses the new one; the old one is still there, under the same UUID."""
    template = host.folder / "broken.xml.j2"
    template.write_text('{% extends "domain.xml.j2" %}{% block devices_extra %}<nonsense/>{% endblock %}')
    file = host.spec(name, DISK)
    host.ok("virtrbd", "define", file)
    before = definition(host, name)
    settings = host.folder / "settings.yaml"
    settings.write_text(f"{host.ok('sh', '-c', 'cat $VIRTRBD_CONFIG')}\ntemplate_dir: {host.folder}\n")
    host.spec(name, f"template: broken.xml.j2\nvcpus: 2\n{DISK}")
    done = host.virtrbd("--config", str(settings), "apply", file)
    assert done.returncode == 65, done
    assert definition(host, name) == before


def test_check_mode_lies(host: LabHost, name: str, spec: str) -> None:
    """plan says what apply does, and nothing when there is nothing."""
    before = definition(host, name)
    assert host.ok("virtrbd", "plan", spec) == "1 domain, 0 actions\n"
    host.spec(name, f"vcpus: 2\n{DISK}  - size: 16M\n")
    planned = host.virtrbd("plan", spec)
    assert planned.returncode == 3
    assert (definition(host, name), f"{name}.vdb" in host.ok("rbd", "ls", "vms").split()) == (before, False)
    would = [line.replace("would ", "") for line in planned.stdout.splitlines()[:-1]]
    assert host.ok("virtrbd", "apply", spec).splitlines() == would
    assert host.ok("virtrbd", "plan", spec) == "1 domain, 0 actions\n"


def test_drift_is_not_seen_and_a_stopped_guest_stays_off(host: LabHost, name: str, running: str) -> None:
    host.spec(name, f"state: running\n{DISK}")
    host.ok("virsh", "destroy", name)
    host.ok("virsh", "setvcpus", name, "3", "--maximum", "--config")
    planned = host.virtrbd("plan", running)
    assert (planned.returncode, planned.stdout.splitlines()[:-1]) == (
        3,
        [f"{name}: would edit definition (/vcpu: 3 -> 1; /vcpu/@current: 1 -> absent)", f"{name}: would start domain"],
    )  # fmt: skip
    host.ok("virtrbd", "reconcile", running)
    assert host.ok("virsh", "domstate", name).strip() == "running"


def test_the_tool_deletes_what_it_does_not_own(host: LabHost, name: str) -> None:
    """A domain without a spec, and an image that a spec does not name any more, are told of and left alone."""
    kept, gone = host.spec(f"{name}a", DISK), host.spec(f"{name}b", DISK)
    host.ok("virtrbd", "define", kept, gone)
    (host.folder / gone).unlink()
    told = host.ok("virtrbd", "reconcile", ".")
    assert f"{name}b: orphan: no spec names it; left alone" in told
    assert f"{name}b" not in host.ok("virtrbd", "reconcile", "."), "once"
    assert f"{name}b" in host.ok("virsh", "list", "--all", "--name").split()
    assert f"{name}b.vda" in host.ok("rbd", "ls", "vms").split()
    done = host.virtrbd("remove", f"{name}b")
    assert done.returncode == 4
    assert f"--allow {'forgets-domain,loses-data'} does all of it" in done.stdout
    host.ok("virtrbd", "remove", f"{name}b", "--allow", "forgets-domain,loses-data")
    assert f"{name}b" not in host.ok("virsh", "list", "--all", "--name").split()
    trash = json.loads(host.ok("rbd", "trash", "ls", "--all", "--format", "json", "vms"))
    assert f"{name}b.vda" in [image["name"] for image in trash]


def test_typos_vanish(host: LabHost, name: str, spec: str) -> None:
    host.spec(name, "disks:\n  - {size: 16M, discrad: unmap}\n")
    done = host.virtrbd("reconcile", spec)
    assert (done.returncode, done.stdout) == (65, "")
    assert "disks[0].discrad: unknown field; did you mean `discard`?" in done.stderr


def test_two_runs_race(host: LabHost, name: str) -> None:
    """Each thing is made once, and nobody fails: the other run is at work, or was done in time."""
    files = [host.spec(f"{name}{n}", DISK) for n in range(4)]
    with ThreadPoolExecutor(3) as pool:
        runs: list[subprocess.CompletedProcess[str]] = list(pool.map(lambda _: host.virtrbd("apply", *files), range(3)))
    assert {run.returncode for run in runs} <= {0, 75}, [run.stderr for run in runs]
    made = [line for run in runs for line in run.stdout.splitlines() if line.endswith(": define domain")]
    assert sorted(made) == [f"{name}{n}: define domain" for n in range(4)]
    assert host.ok("virtrbd", "plan", *files) == "4 domains, 0 actions\n"


def test_a_saved_plan_is_applied_to_another_world(host: LabHost, name: str, spec: str) -> None:
    host.spec(name, f"vcpus: 2\n{DISK}")
    assert host.virtrbd("plan", spec, "--save", "tonight.plan").returncode == 3
    host.ok("virsh", "desc", name, "--config", "by hand")
    before = definition(host, name)
    done = host.virtrbd("apply", "tonight.plan")
    assert (done.returncode, done.stdout) == (5, "")
    assert "have changed since this plan was saved; nothing was done" in done.stderr
    assert definition(host, name) == before
    host.virtrbd("plan", spec, "--save", "tonight.plan")
    assert re.search(r"edit definition \(/vcpu: 1 -> 2\)", host.ok("virtrbd", "apply", "tonight.plan"))


@pytest.mark.timeout(120)
def test_a_wrong_directory_changes_every_domain(host: LabHost, name: str) -> None:
    files = [host.spec(f"{name}{n}", DISK) for n in range(10)]
    host.ok("virtrbd", "apply", *files)
    for n in range(4):
        host.spec(f"{name}{n}", f"vcpus: 2\n{DISK}")
    done = host.virtrbd("reconcile", *files)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == (
        "all domains: BLOCKED: 4 of 10 domains would be changed, more than 30 %: nothing was done. Is this the right "
        "directory? --limit 40% allows it\n"
    )
    assert host.virtrbd("reconcile", *files).stderr == "", "told once"
    assert host.ok("virtrbd", "reconcile", *files, "--limit", "40%").count("edit definition") == 4


def test_a_resize_makes_the_disk_anew_and_loses_what_is_on_it(host: LabHost, name: str, spec: str) -> None:
    before = json.loads(host.ok("rbd", "info", "--format", "json", f"vms/{name}.vda"))["id"]
    host.ok("rbd", "bench", "--io-type", "write", "--io-size", "4096", "--io-total", "65536", f"vms/{name}.vda")
    digest = host.ok("sh", "-c", f"rbd export --no-progress vms/{name}.vda - | head -c 16M | sha256sum")
    host.spec(name, "disks:\n  - size: 24M\n")
    assert host.ok("virtrbd", "apply", spec) == f"{name}: grow image vms/{name}.vda from 16 MiB to 24 MiB\n"
    after = json.loads(host.ok("rbd", "info", "--format", "json", f"vms/{name}.vda"))
    assert (after["id"], after["size"]) == (before, 24 * 1024**2)
    assert host.ok("sh", "-c", f"rbd export --no-progress vms/{name}.vda - | head -c 16M | sha256sum") == digest
    host.spec(name, DISK)
    shrunk = host.virtrbd("apply", spec)
    assert (shrunk.returncode, "images never shrink: raise size" in shrunk.stderr) == (65, True), shrunk


def test_a_spec_without_a_uuid_makes_a_second_domain_or_fails(host: LabHost, name: str, spec: str) -> None:
    """Somebody made the domain anew with virsh, under another UUID and without our mark."""
    held = re.sub(r"<uuid>.*</uuid>|<metadata>.*</metadata>", "", definition(host, name), flags=re.DOTALL)
    (host.folder / "anew.xml").write_text(held)
    host.ok("virsh", "undefine", name)
    host.ok("virsh", "define", "anew.xml")
    uuid = host.ok("virsh", "domuuid", name)
    blocked = host.virtrbd("apply", spec)
    assert (blocked.returncode, "takes-over" in blocked.stderr) == (4, True), blocked
    host.ok("virtrbd", "apply", "--allow", "takes-over", spec)
    assert host.ok("virsh", "domuuid", name) == uuid
    assert host.ok("virtrbd", "plan", spec) == "1 domain, 0 actions\n"


def test_a_failed_create_leaves_things_behind_and_fails_ever_after(host: LabHost, name: str) -> None:
    source = host.folder / "source.qcow2"
    host.ok("qemu-img", "create", "-q", "-f", "qcow2", "source.qcow2", "8M")
    host.ok("qemu-io", "-c", "write -P 7 0 8M", "source.qcow2")
    whole = source.read_bytes()
    # Its header is right, and what it speaks of is cut off.
    source.write_bytes(whole[: len(whole) // 2])
    file = host.spec(name, f"disks:\n  - import: {source}\n")
    failed = host.virtrbd("apply", file)
    assert (failed.returncode, "is damaged or cut short" in failed.stderr) == (65, True), failed
    assert f"{name}.vda" not in host.ok("rbd", "ls", "vms").split()
    assert name not in host.ok("virsh", "list", "--all", "--name").split()
    source.write_bytes(whole)
    assert f"{name}: define domain" in host.ok("virtrbd", "apply", file)
    assert host.ok("virtrbd", "plan", file) == "1 domain, 0 actions\n"


def test_trim_is_off_by_default_and_the_secret_is_not_the_key(host: LabHost, name: str, running: str) -> None:
    """A guest that runs has found its secret, and libvirt gives the value to nobody."""
    live = host.ok("virsh", "dumpxml", name)
    assert "discard='unmap'" in live
    [uuid] = re.findall("<secret type='ceph' uuid='(.*?)'/>", live)
    assert host.inspect(name)["state"] == "running", running
    told = host.run("virsh", "secret-get-value", uuid)
    assert (told.returncode, told.stdout.strip()) == (1, "")


def test_the_xml_is_asked_for_and_storage_is_made(host: LabHost, name: str) -> None:
    spec = host.spec(name, DISK)
    for verb, code in (("validate", 0), ("render", 0), ("plan", 3)):
        assert host.virtrbd(verb, spec).returncode == code
    assert f"{name}.vda" not in host.ok("rbd", "ls", "vms").split()
    assert name not in host.ok("virsh", "list", "--all", "--name").split()
    assert host.ok("virsh", "pool-list", "--all", "--name").split() == [], "nor a storage pool of the folder"


def test_a_storage_pool_opens_every_image_and_its_volumes_do_not_start(host: LabHost, name: str, running: str) -> None:
    """A disk is a network disk with its own secret: what it takes has nothing to do with what else is in the pool."""
    [kind] = re.findall(r"<disk type='(\w+)' device='disk'", host.ok("virsh", "dumpxml", name))
    assert (kind, host.inspect(name)["state"]) == ("network", "running"), running
    assert host.ok("virsh", "pool-list", "--all", "--name").split() == []


def test_a_copied_domain_writes_to_the_image_of_the_first(
    host: LabHost, operator: Operator, name: str, spec: str
) -> None:
    """Copied with its spec, or with virsh: it never gets the image that is another's."""
    copied = host.spec(f"{name}b", f"disks:\n  - {{image: vms/{name}.vda, size: 16M}}\n")
    apart, together = host.virtrbd("apply", copied), host.virtrbd("apply", spec, copied)
    assert (apart.returncode, together.returncode) == (65, 65), (apart, together)
    assert f"image vms/{name}.vda is already written by domain {name}" in apart.stderr
    assert f"image vms/{name}.vda is already used in {spec}:1" in together.stderr
    assert f"{name}b" not in host.ok("virsh", "list", "--all", "--name").split()
    text = re.sub(r"<uuid>.*</uuid>|<mac address=.*/>", "", definition(host, name))
    (host.folder / "copy.xml").write_text(text.replace(f"<name>{name}<", f"<name>{name}c<"))
    host.ok("virsh", "define", "copy.xml")
    host.ok("virtrbd", "start", name)
    refused = operator.run("start", f"{name}c")
    assert (refused.code, host.ok("virsh", "domstate", f"{name}c").strip()) == (5, "shut off"), refused


def test_a_run_finds_something_to_change_each_time(host: LabHost, name: str) -> None:
    """libvirt fills in firmware, CPU, addresses and machine version; none of it is a difference, off or running."""
    text = f"firmware: uefi\ncpu: {{mode: host-model}}\ninterfaces: []\ncdroms: [{{}}]\ntpm: false\n{DISK}"
    spec = host.spec(name, text)
    host.ok("virtrbd", "define", spec)
    before = definition(host, name)
    assert host.ok("virtrbd", "reconcile", spec) == ""
    host.ok("virsh", "start", name)
    assert [host.ok("virtrbd", "reconcile", spec) for _ in range(2)] == ["", ""]
    # libvirt orders devices anew at a start.
    assert sorted(definition(host, name).splitlines()) == sorted(before.splitlines())
