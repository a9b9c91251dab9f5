"""Old memory never goes onto a newer disk: a managed save belongs to one run of its guest (law 17)."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.lab import LabHost
from support.worlds import LabWorld


@pytest.fixture
def spec(world: LabWorld, name: str) -> str:
    """A domain that runs on kvm-1, as its spec wants."""
    file = world.host.spec(name, "state: running\ndisks:\n  - size: 16M\n")
    world.ok("define", "--start", file)
    return file


def last_run(world: LabWorld, name: str) -> dict[str, str]:
    found: dict[str, str] = world.image(f"{name}.vda")["last_run"]
    return found


def test_a_save_is_not_resumed_onto_a_disk_that_another_host_wrote_to(
    make_world: Callable[[str], LabWorld], world: LabWorld, name: str, spec: str
) -> None:
    other = make_world("kvm-2")
    before = last_run(world, name)
    world.libvirt.lookupByName(name).managedSave()
    taken = other.virtrbd(
        "define", "--start", other.host.spec(name, "disks:\n  - size: 16M\n"), "--allow", "takes-over"
    )
    assert taken.returncode == 0, taken
    assert "holds a managed save there, drop that" in taken.stderr
    other.ok("destroy", name, "--allow", "interrupts-guest")
    after = last_run(world, name)
    assert (before["host_name"], after["host_name"]) == ("kvm-1", "kvm-2"), "a clean stop ends the claim, not the trace"
    assert world.image(f"{name}.vda")["running_on"] is None
    other.ok("undefine", name)

    plan = world.virtrbd("plan", spec)
    assert f"virsh managedsave-remove {name}" in plan.stdout
    assert "resumes it" not in plan.stdout
    for words in (("apply", spec), ("apply", spec, "--allow", "loses-data")):
        world.virtrbd(*words)
        assert not world.libvirt.lookupByName(name).isActive(), words
    done = world.virtrbd("start", name)
    assert done.returncode == 4, done
    assert f"image vms/{name}.vda was last run on host kvm-2" in done.stderr
    assert "or --allow loses-data" in done.stderr
    assert world.libvirt.lookupByName(name).hasManagedSaveImage()


@pytest.mark.usefixtures("spec")
def test_a_save_of_an_earlier_run_on_this_host_is_not_resumed(world: LabWorld, host: LabHost, name: str) -> None:
    world.libvirt.lookupByName(name).managedSave()
    image = f"vms/{name}.vda"
    mark = json.loads(host.ok("rbd", "image-meta", "get", image, "virtrbd.last_run"))
    later = json.dumps({**mark, "generation": "another"})
    host.ok("rbd", "image-meta", "set", image, "virtrbd.last_run", later)
    done = world.virtrbd("start", name)
    assert done.returncode == 4, done
    assert "the managed save is of an earlier run" in done.stderr
    world.ok("start", name, "--allow", "loses-data")


def test_a_save_is_resumed_and_saved_and_resumed_again(world: LabWorld, name: str, spec: str) -> None:
    domain = world.libvirt.lookupByName(name)
    for _ in range(2):
        domain.managedSave()
        generation = last_run(world, name)["generation"]
        world.ok("start", name)
        assert last_run(world, name)["generation"] == generation
    domain.managedSave()
    world.ok("apply", spec)
    assert domain.isActive()
    world.ok("destroy", name, "--allow", "interrupts-guest")
    world.ok("start", name)
    assert last_run(world, name)["generation"] != generation


def test_a_guest_that_virsh_started_can_be_saved_and_resumed(world: LabWorld, name: str, spec: str) -> None:
    domain = world.libvirt.lookupByName(name)
    world.ok("destroy", name, "--allow", "interrupts-guest")
    domain.create()
    world.ok("apply", spec)
    domain.managedSave()
    world.ok("start", name)
    assert domain.isActive()
    assert not domain.hasManagedSaveImage(), "it was resumed"


@pytest.mark.alone
def test_a_save_that_is_damaged_holds_up_its_own_domain_alone(world: LabWorld, name: str, spec: str) -> None:
    world.libvirt.lookupByName(name).managedSave()
    [file] = Path(world.env["VIRTRBD_LAB"]).rglob(f"{name}.save")
    file.write_bytes(bytes(100))
    world.ok("define", world.host.spec(f"{name}b", "disks:\n  - size: 8M\n"))
    assert f"virtrbd start {name} resumes it" in world.virtrbd("plan", spec).stdout
    done = world.virtrbd("image", "remove", f"vms/{name}b.vda")
    assert f"domain {name} may use it: virtrbd cannot read everything that it names" in done.stdout
