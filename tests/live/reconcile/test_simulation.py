"""The model of a host on which the planner's laws are held, held against the host: one action, one world after it."""

from collections.abc import Iterable

import pytest
from support.guests import Guest
from support.lab import LabHost
from support.pictures import look, picture
from support.removed import simulate_removal
from support.simulate import simulate
from support.worlds import LabWorld

from virtrbd.ceph.children import with_owners
from virtrbd.ceph.details import read_details
from virtrbd.commands.connected.host import connected
from virtrbd.commands.frame.run import Run
from virtrbd.engine.perform import perform
from virtrbd.images.host import Host
from virtrbd.model.actions import Action
from virtrbd.model.domain import Domain
from virtrbd.model.hazard import Hazard
from virtrbd.model.image import ImageRef
from virtrbd.model.image_details import ImageDetails
from virtrbd.planning.plan import make_plan
from virtrbd.planning.policy import Policy
from virtrbd.planning.removal import plan_removal
from virtrbd.planning.retirement import plan_retirement
from virtrbd.specs.desired import desired_domains
from virtrbd.specs.settings import load_settings

# Each spec follows on the one before; what changes brings the actions about.
SPECS = [
    "machine: pc\nvcpus: 1\nmax_vcpus: 2\ndisks:\n  - size: 16M\n  - {size: 16M, bus: scsi}\ncdroms: [{}]\n",
    "state: running\nmachine: pc\nvcpus: 1\nmax_vcpus: 2\ndisks:\n  - size: 16M\n  - {size: 16M, bus: scsi}\n"
    "cdroms: [{}]\n",
    "machine: pc\nvcpus: 2\nmax_vcpus: 2\ntitle: shop\nautostart: true\ndisks:\n"
    "  - {size: 24M, iotune: {read_iops_sec: 100, write_iops_sec: 50}}\n  - {size: 16M, bus: scsi}\n  - size: 16M\n"
    "cdroms: [{image: vms/NAME.vda}]\n",
    "machine: pc\nvcpus: 2\nmax_vcpus: 2\ndescription: sells\ndisks:\n"
    "  - {size: 24M, iotune: {read_iops_sec: 200, write_iops_sec: 50}}\n  - size: 16M\ncdroms: [{}]\n",
]  # fmt: skip
SEEN = {
    "CreateImage", "DefineDomain", "StartDomain", "GrowImage", "AttachDevice", "DetachDevice", "LimitDisk", "SetTitle",
    "SetVcpus", "ChangeMedia", "SetAutostart", "MarkLive",
}  # fmt: skip


def hold_against(host: Host, domain: Domain, policy: Policy, actions: Iterable[Action]) -> set[str]:
    """Perform each action, and compare the world after it with the model's; return the names of what was done."""
    seen = set()
    for action in actions:
        expected = simulate(action, look(domain, host, policy))
        perform(action, host)
        assert picture(domain, look(domain, host, policy)) == picture(domain, expected), action.text
        seen.add(type(action).__name__)
    return seen


@pytest.mark.timeout(180)
def test_what_the_model_makes_of_an_action_the_host_makes_of_it(host: LabHost, name: str) -> None:
    settings = load_settings(host.ok("printenv", "VIRTRBD_CONFIG").strip())
    policy = Policy(host=settings.host, by_spec=True)
    seen: set[str] = set()
    with connected(Run(), settings, frozenset(Hazard)) as here:
        for text in SPECS:
            spec = host.folder / host.spec(name, text.replace("NAME", name))
            [domain] = desired_domains([str(spec)], settings)
            [plan] = make_plan([domain], look(domain, here, policy), policy).domains
            seen |= hold_against(here, domain, policy, plan.actions)
            assert make_plan([domain], look(domain, here, policy), policy).domains[0].actions == ()
    assert seen >= SEEN


# What somebody did before each spec is looked at, with the words for its guest, and what is to be done about it.
HELP_OF_A_GUEST = [
    ("", "state: running\n", "CloneImage WriteSeed DefineDomain StartDomain"),
    ("UP", "current_memory: 112M\nLINK_DOWN", "WriteSeed DefineDomain SetLink SetMemory MarkLive"),
    ("", "state: shut-off\ncurrent_memory: 112M\n", "DefineDomain SetLink MarkLive ShutDownDomain"),
    ("virsh start NAME", "current_memory: 112M\n", "RenewMark NoteHost"),
    ("virsh destroy NAME", "current_memory: 112M\n", "NoteHost"),
    ("rbd image-meta remove vms/NAME.vda virtrbd.owner", "current_memory: 112M\n", "MarkImage"),
    (
        "rbd snap create --no-progress vms/NAME.vda@s1; "
        "rbd image-meta set vms/NAME.vda virtrbd.state 'rolling back to s1'",
        "current_memory: 112M\n", "FinishRollback",
    ),
]  # fmt: skip


@pytest.mark.timeout(240)
def test_the_same_of_what_takes_a_guest_and_of_what_others_did(world: LabWorld, golden: str, name: str) -> None:
    settings = load_settings(world.env["VIRTRBD_CONFIG"])
    policy = Policy(host=settings.host, by_spec=True)
    network = world.libvirt.networkCreateXML(f"<network><name>{name}</name><bridge name='vr{name[-8:]}'/></network>")
    try:
        with connected(Run(), settings, frozenset(Hazard)) as here:
            for number, (before, words, done) in enumerate(HELP_OF_A_GUEST):
                if before == "UP":
                    guest = Guest(name=name, bus="virtio", env=world.env)
                    guest.open_console()
                    guest.await_up(1, 120)
                elif before:
                    world.host.ok("sh", "-c", before.replace("NAME", name))
                seed, link = ("a", "") if number == 0 else ("b", ", link: down" if "LINK_DOWN" in words else "")
                words = words.replace("LINK_DOWN", "")
                interfaces = f"interfaces: [{{network: {name}{link}}}]\ncloud_init: {{user_data: '#{seed}'}}\n"
                spec = world.host.spec(name, f"{words}disks: [{{clone: {golden}}}]\n{interfaces}")
                [domain] = desired_domains([str(world.host.folder / spec)], settings)
                [plan] = make_plan([domain], look(domain, here, policy), policy).domains
                assert {type(action).__name__ for action in plan.actions} == set(done.split()), plan
                hold_against(here, domain, policy, plan.actions)
            world.host.ok("virsh", "start", name)
            world.host.ok("virsh", "managedsave", name)
            [defined] = [found for found in look(domain, here, policy).domains if found.uuid == domain.uuid]
            images = [
                image for image in look(domain, here, policy).images.values() if image and image.is_of(domain.uuid)
            ]
            retired = plan_retirement(defined, images, here.host_uuid, delay_s=0)
            seen = hold_against(here, domain, policy, retired.actions)
            assert seen == {"DropManagedSave", "TrashImage", "UndefineDomain"}
    finally:
        network.destroy()


def snapshots_of(known: ImageDetails | None) -> list[object] | None:
    """What of an image its removal is planned by, as far as steps change it; None without the image."""
    if known is None:
        return None
    return [(each.label, each.kind, each.protected, each.children) for each in known.snapshots]


def test_the_same_of_the_steps_of_a_removal(world: LabWorld, name: str) -> None:
    base, clone, gone = (f"vms/{name}.{letter}" for letter in ("base", "clone", "gone"))
    world.ok("image", "create", base, "8M")
    world.ok("image", "snapshot", "create", "--protect", f"{base}@s1")
    world.ok("image", "snapshot", "create", f"{base}@s2")
    world.ok("image", "clone", f"{base}@s1", clone, gone)
    world.ok("image", "remove", gone)
    with connected(Run(), load_settings(world.env["VIRTRBD_CONFIG"]), frozenset(Hazard)) as here:

        def seen() -> ImageDetails | None:
            found = read_details(here.cluster, ImageRef.parse(base))
            return with_owners(here.cluster, found) if found else None

        known = seen()
        assert known
        plan = plan_removal(known, (), here.host_uuid, delay_s=None)
        for action in plan.steps:
            assert known, "each step but the last leaves the image"
            expected = simulate_removal(action, known)
            perform(action, here)
            known = seen()
            assert snapshots_of(known) == snapshots_of(expected), action.text
        assert known is None
    assert [type(action).__name__ for action in plan.steps] == [
        "FlattenClone", "FlattenClone", "UnprotectSnapshot", "RemoveSnapshot", "RemoveSnapshot", "RemoveImage"
    ]  # fmt: skip
    world.forget(name)
