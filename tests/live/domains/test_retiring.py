"""A domain is retired wholly or not at all: what libvirt or RBD would refuse is found first, a kill is made good."""

import json
import signal
import uuid

import libvirt
import pytest
import rbd
from support.worlds import LabWorld

GOES = ("--allow", "forgets-domain,loses-data")
LOSES = ("--allow", "loses-data")


def snapshotted(world: LabWorld, name: str) -> str:
    """Define a domain with libvirt's metadata of a snapshot, as a backup leaves it; return its spec."""
    spec = world.host.spec(name, "disks:\n  - size: 16M\n")
    world.ok("define", spec)
    domain = world.libvirt.lookupByName(name)
    head = "<domainsnapshot><name>nightly</name><state>shutoff</state><creationTime>1</creationTime>"
    redefine = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE
    domain.snapshotCreateXML(f"{head}{domain.XMLDesc()}</domainsnapshot>", redefine)
    return spec


def in_trash(world: LabWorld, name: str) -> list[str]:
    return [each["name"] for each in rbd.RBD().trash_list(world.vms) if each["name"].startswith(f"{name}.")]


def test_snapshots_that_libvirt_keeps_are_named_before_an_image_is_touched(world: LabWorld, name: str) -> None:
    spec = snapshotted(world, name)
    for words in (("undefine", name, "--trash-images"), ("remove", name, *GOES)):
        done = world.virtrbd(*words)
        assert done.returncode == 4, done
        assert f"virsh snapshot-delete --metadata {name} nightly, or forget them all with --forget-snapshots" in (
            done.stdout + done.stderr
        )
        assert (world.images(name), in_trash(world, name)) == ([f"{name}.vda"], [])
    world.ok("remove", name, "--forget-snapshots", *GOES)
    assert (world.images(name), in_trash(world, name)) == ([], [f"{name}.vda"])
    world.ok("define", spec)
    assert world.images(name) == [f"{name}.vda"], "one that was retired may be made again"
    world.ok("undefine", name, "--trash-images", *LOSES)


def test_an_image_that_may_not_go_keeps_its_domain(world: LabWorld, name: str) -> None:
    world.ok("define", world.host.spec(name, "disks:\n  - size: 16M\n"))
    with rbd.Image(world.vms, f"{name}.vda") as image:
        image.create_snap("v1")
        image.protect_snap("v1")
    world.ok("image", "clone", f"vms/{name}.vda@v1", f"vms/{name}.clone")
    done = world.virtrbd("remove", name, *GOES)
    assert done.returncode == 5, done
    assert f"image vms/{name}.vda can't go to the trash: snapshot v1 has clones: vms/{name}.clone" in done.stderr
    assert world.libvirt.lookupByName(name).isPersistent()
    world.ok("image", "remove", "--now", "--allow", "loses-data", f"vms/{name}.clone")
    world.ok("remove", name, *GOES)


def test_a_retirement_killed_at_any_step_is_finished_by_the_next(world: LabWorld, name: str) -> None:
    steps = 0
    while True:
        steps += 1
        subject = f"{name}{steps}"
        world.ok("define", world.host.spec(subject, "disks:\n  - size: 16M\n  - size: 16M\n"))
        code, seen = world.run_killed(steps, "after", "remove", subject, *GOES)
        if code == 0:
            break
        world.ok("remove", subject, *GOES)
        assert (world.images(subject), sorted(in_trash(world, subject))) == ([], [f"{subject}.vda", f"{subject}.vdb"])
        assert subject not in [domain.name() for domain in world.libvirt.listAllDomains()]
        assert not (world.state / "retirements" / subject).exists()
    assert seen == ["virDomain.undefineFlags", "RBD.trash_move", "RBD.trash_move"]


def test_a_retirement_that_came_to_nothing_is_forgotten(world: LabWorld, name: str) -> None:
    """Else the next run after another undefine would trash images that the operator does not allow then."""
    spec = world.host.spec(name, "disks:\n  - size: 16M\n")
    world.ok("define", spec)
    record = world.state / "retirements" / name
    code, steps = world.run_killed(1, "before", "remove", name, *GOES)
    assert (code, steps, record.exists()) == (-signal.SIGKILL, ["virDomain.undefineFlags"], True)
    world.ok("undefine", name)
    assert not record.exists()
    assert world.virtrbd("remove", name).returncode != 0
    assert world.images(name) == [f"{name}.vda"]
    world.ok("define", spec)
    world.run_killed(1, "after", "remove", name, *GOES)
    assert record.exists()
    world.ok("define", spec)
    assert not record.exists(), "it was made again"
    assert world.images(name) == [f"{name}.vda"]
    world.ok("remove", name, *GOES)


def test_an_image_that_went_is_missed_and_not_replaced(world: LabWorld, name: str) -> None:
    spec = world.host.spec(name, "disks:\n  - size: 16M\n")
    world.ok("define", spec)
    rbd.RBD().trash_move(world.vms, f"{name}.vda", 3600)
    for words in (("define", spec), ("apply", spec)):
        done = world.virtrbd(*words)
        assert done.returncode == 4, done
        assert f"virtrbd image restore vms/{name}.vda brings it back" in done.stdout + done.stderr
        assert world.images(name) == []
    world.ok("image", "restore", f"vms/{name}.vda")
    assert "nothing to do" in world.ok("define", spec)
    rbd.RBD().remove(world.vms, f"{name}.vda")
    world.ok("define", spec, "--allow", "loses-data")
    assert world.images(name) == [f"{name}.vda"]


@pytest.mark.parametrize("words", [("undefine", "--trash-images"), ("remove", "--allow", "forgets-domain")])
def test_a_client_that_was_killed_is_outlived(world: LabWorld, name: str, words: tuple[str, ...]) -> None:
    image = f"vms/{name}.vda"
    world.ok("define", world.host.spec(name, "disks:\n  - size: 16M\n"))
    code, _ = world.run_killed(1, "after", "image", "snapshot", "create", f"{image}@s1")
    assert code == -9
    assert json.loads(world.host.ok("rbd", "status", "--format", "json", image))["watchers"], (
        "it watches on, and prevents a removal for a while"
    )
    done = world.virtrbd(*words, *LOSES, name)
    assert done.returncode == 0, done
    assert (world.images(name), in_trash(world, name)) == ([], [f"{name}.vda"])


@pytest.mark.parametrize("words", [("undefine",), ("remove", *GOES)])
def test_what_a_domain_leaves_may_be_started_elsewhere(world: LabWorld, name: str, words: tuple[str, ...]) -> None:
    """Its host has released the image, also where virsh destroyed the guest."""
    world.ok("define", "--start", world.host.spec(name, "disks:\n  - size: 16M\n"))
    world.libvirt.lookupByName(name).destroy()
    image = f"vms/{name}.vda"
    assert "virtrbd.running" in world.host.ok("rbd", "image-meta", "list", image)
    world.ok(*words, name)
    if words[0] == "remove":
        world.ok("image", "restore", image)
    assert "virtrbd.running" not in world.host.ok("rbd", "image-meta", "list", image)


@pytest.mark.parametrize("words", [("undefine", "--trash-images"), ("remove",)])
def test_an_image_that_another_host_may_have_open_is_trashed_only_where_that_is_allowed(
    world: LabWorld, name: str, words: tuple[str, ...]
) -> None:
    """A frozen host is no watcher, and may come back: the claim of its start is on the image."""
    world.ok("define", "--start", world.host.spec(name, "disks:\n  - size: 16M\n"))
    world.ok("destroy", name, "--allow", "interrupts-guest")
    image, elsewhere = f"vms/{name}.vda", str(uuid.uuid4())
    with rbd.Image(world.vms, f"{name}.vda") as opened:
        opened.metadata_set("virtrbd.running", json.dumps({"host": elsewhere, "image": opened.id()}))
    done = world.virtrbd(*words, name, *GOES)
    assert done.returncode == 4, done
    assert (
        f"move image {image} to the trash for 14 days, although it was last started on host {elsewhere}, which did not "
        f"record a stop: needs --allow takes-over"
    ) in done.stdout + done.stderr
    assert (world.libvirt.lookupByName(name).isPersistent(), world.images(name)) == (1, [f"{name}.vda"])
    world.ok(*words, name, "--allow", "forgets-domain,loses-data,takes-over")
    assert in_trash(world, name) == [f"{name}.vda"]


def test_undefine_trashes_images_only_where_losing_them_is_allowed(world: LabWorld, name: str) -> None:
    world.ok("define", world.host.spec(name, "disks:\n  - size: 16M\n"))
    done = world.virtrbd("undefine", "--trash-images", name)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.splitlines() == [
        f"{name}: NOT TRIED: undefine domain",
        f"{name}: BLOCKED: move image vms/{name}.vda to the trash for 14 days: needs --allow loses-data",
    ]
    as_json = json.loads(world.virtrbd("undefine", "--trash-images", name, "--output", "json").stdout)
    assert (as_json["done"], as_json["errors"]) == ([], done.stderr.splitlines())
    assert (world.libvirt.lookupByName(name).isPersistent(), world.images(name)) == (1, [f"{name}.vda"])
    assert world.ok("undefine", "--trash-images", *LOSES, name).splitlines() == [
        f"{name}: undefined", f"{name}: moved image vms/{name}.vda to the trash for 14 days"
    ]  # fmt: skip
