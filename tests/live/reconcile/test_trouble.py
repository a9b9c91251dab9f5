"""One domain's trouble, and what a person or a kill leaves behind: the others go on, and nothing is mistaken."""

import subprocess
from dataclasses import replace

import libvirt
import pytest
from support.fleets import DISK, Fleet

from virtrbd.local.state_dir import StateDir

# A domain without a spec is told of, and there are other tests' ones beside these otherwise.
pytestmark = pytest.mark.alone

# virtrbd, with something done just before it performs an action of one kind.
JUST_BEFORE = """
import os, signal, sys
from virtrbd.__main__ import main
import virtrbd.engine.perform as performing
perform = performing.perform
def hooked(action, host):
    if type(action).__name__ == "KIND":
        DONE
    perform(action, host)
performing.perform = hooked
main()
"""


def just_before(kind: str, done: str) -> tuple[str, str]:
    return "-c", JUST_BEFORE.replace("KIND", kind).replace("DONE", done)


def test_a_pool_or_a_file_that_is_not_there_holds_back_its_own_domain_only(fleet: Fleet) -> None:
    good, lost = fleet.spec("a"), fleet.spec("b", "disks:\n  - {size: 8M, image: nosuch/b}\n")
    backing = fleet.folder / "backing.raw"
    backing.write_bytes(bytes(1024))
    image = fleet.specs / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(backing), str(image)], check=True)
    broken = fleet.spec("c", f"disks:\n  - {{import: {image}}}\n")
    done = fleet.reconcile()
    assert done.code == 65, done
    assert f"{good}: define domain" in done.out
    assert f"{fleet.specs}/{lost}.yaml:4: disk vda: pool nosuch does not exist; check the name" in done.err
    assert f"{fleet.specs}/{broken}.yaml:4: disk vda: {image}: refers to {backing}; flatten it first" in done.err


def test_root_writes_no_file_that_its_environment_names(fleet: Fleet) -> None:
    fleet.spec("a")
    of_ceph, of_libvirt = fleet.folder / "ceph.log", fleet.folder / "libvirt.log"
    foreign = {"CEPH_ARGS": f"--log-file {of_ceph}", "LIBVIRT_LOG_OUTPUTS": f"1:file:{of_libvirt}"}
    sudo = replace(fleet, env={**fleet.env, **foreign, "CEPH_KEYRING": "/nowhere", "CEPH_LIB": "/nowhere"})
    assert sudo.reconcile().code == 0
    assert (of_ceph.exists(), of_libvirt.exists()) == (False, False)
    sudo.set(keep_environment="[CEPH_ARGS, NOT_THERE]")
    assert sudo.reconcile().code == 0
    assert (of_ceph.exists(), of_libvirt.exists()) == (True, False)


def test_what_is_held_is_not_removed(fleet: Fleet) -> None:
    name = fleet.spec("a")
    fleet.converges()
    fleet.run("hold", name, "--why", "forensics")
    for words in (("remove", name, "--allow", "forgets-domain,loses-data"), ("undefine", name)):
        refused = fleet.run(*words)
        assert (refused.code, refused.err) == (4, f"{name}: is held (forensics); virtrbd release {name} ends that\n")
    assert fleet.domain(name).isPersistent()


def test_a_lock_is_the_domains_whatever_a_person_typed(fleet: Fleet) -> None:
    name = fleet.spec("a")
    fleet.converges()
    uuid = fleet.domain(name).UUIDString()
    with StateDir(str(fleet.state)).locked([name], "reconcile"):
        for words in (("remove", uuid, "--allow", "forgets-domain,loses-data"), ("undefine", uuid), ("start", uuid)):
            assert fleet.run(*words).code == 75, words
    with StateDir(str(fleet.state)).locked([f"vms/{name}.vda"], "image rollback"):
        assert fleet.run("start", name).code == 75, "the image is being changed"


def test_a_path_that_nothing_has_is_taken_and_said(fleet: Fleet) -> None:
    """A slip in it would silence nothing, unnoticed."""
    name = fleet.spec("a")
    fleet.converges()
    slip = fleet.run("ignore", name, "/devices/disk:vdz/iotune")
    assert (slip.code, slip.err) == (
        0,
        f"{name}: nothing here has /devices/disk:vdz/iotune so far; plan shows the existing paths\n",
    )
    for path in ("/devices/disk:vda/driver/@cache", "/os/boot", "/autostart", "/devices/disk:vda"):
        assert fleet.run("ignore", name, path).err == "", path
    assert fleet.run("ignore", "--undo", name, "/devices/disk:vdz/iotune").err == ""


def test_an_autostart_that_is_ignored_stays(fleet: Fleet) -> None:
    name = fleet.spec("a")
    fleet.converges()
    fleet.domain(name).setAutostart(1)
    assert fleet.run("ignore", name, "/autostart").code == 0
    fleet.is_in_sync()
    fleet.is_in_sync()
    assert fleet.domain(name).autostart() == 1


def test_a_live_change_that_a_kill_left_unmarked_is_ours_all_the_same(fleet: Fleet) -> None:
    name = fleet.spec("a", f"state: running\nmachine: pc\n{DISK}")
    fleet.converges()
    fleet.spec("a", f"state: running\nmachine: pc\n{DISK}  - size: 8M\n")
    killed = fleet.run("reconcile", program=just_before("MarkLive", "os.kill(os.getpid(), signal.SIGKILL)"))
    assert killed.code == -9, killed
    assert "vdb" in fleet.domain(name).XMLDesc()
    fleet.is_in_sync()
    fleet.spec("a", f"state: running\nmachine: pc\n{DISK}")
    planned = fleet.run("plan")
    assert f"{name}: BLOCKED: detach disk vdb (image vms/{name}.vdb, which is kept)" in planned.out, planned


def test_a_hold_that_comes_in_between_keeps_a_domain_off(fleet: Fleet) -> None:
    name = fleet.spec("a", f"state: shut-off\n{DISK}")
    fleet.converges()
    fleet.spec("a", f"state: running\n{DISK}")
    hold = f"os.system(sys.executable + ' -m virtrbd hold {name} >&2')"
    held = fleet.run("reconcile", program=just_before("StartDomain", hold))
    assert held.code == 4, held
    blocked = f"{name}: BLOCKED: start domain: {name} is held now; virtrbd release {name} ends that"
    assert blocked in held.err, held
    assert fleet.domain(name).state()[0] == libvirt.VIR_DOMAIN_SHUTOFF
