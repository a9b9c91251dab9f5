"""Plans for worlds of one's own, line by line."""

import pytest
from support.strategies import BY_SPEC, EMPTY, HERE, ISO, MIB, STARTING, WEB, WITHOUT_CEPHX, done

from virtrbd.domainxml.document import Definition, LiveDocument
from virtrbd.domainxml.edit import with_mark
from virtrbd.model.cluster import Monitor
from virtrbd.model.disk import Bus, Cdrom
from virtrbd.model.domain import Domain
from virtrbd.model.domain_actions import DefineDomain
from virtrbd.model.element_path import ElementPath
from virtrbd.model.hazard import Hazard
from virtrbd.model.image import Image, ImageRef
from virtrbd.model.image_actions import CloneImage, CreateImage
from virtrbd.model.image_state import state_from
from virtrbd.model.last_definition import LastDefinition
from virtrbd.model.live_actions import DetachDevice, LiveAction
from virtrbd.model.overlay import Overlay
from virtrbd.model.plan import FindingKind
from virtrbd.model.power import PowerState, WantedState
from virtrbd.model.record import replace
from virtrbd.planning.plan import make_plan
from virtrbd.planning.secret import SecretPlan, plan_secret
from virtrbd.planning.world import World


def test_a_world_without_anything_gets_everything() -> None:
    """The laws hold of an empty plan too; this one is not."""
    [planned] = make_plan([WEB], EMPTY, STARTING).domains
    kinds = [type(action).__name__ for action in planned.actions]
    assert kinds == ["DefineSecret", "CloneImage", "GrowImage", "DefineDomain", "StartDomain"]


@pytest.mark.parametrize(
    ("held", "problem"),
    [
        (
            None,
            "cdrom sda: image golden/iso does not exist; make it with "
            "`virtrbd image import --format iso FILE golden/iso`",
        ),
        (
            Image(ref=ISO, image_id="i", size_bytes=MIB, created_at=0, state=state_from("importing x")),
            "golden/iso is not ready",
        ),
        (Image(ref=ISO, image_id="i", size_bytes=MIB, created_at=0), ""),
    ],
)
def test_a_cdroms_image_must_be_there(held: Image | None, problem: str) -> None:
    web = replace(WEB, cdroms=(Cdrom(target="sda", bus=Bus.SATA, image=ISO, line=7),))
    [planned] = make_plan([web], replace(EMPTY, images={**EMPTY.images, ISO: held}), HERE).domains
    assert [problem in text for text in planned.problems] == [True] * bool(problem)


def test_a_paused_guest_is_not_called_started() -> None:
    world = done([WEB], EMPTY, STARTING)
    [found] = world.domains
    paused = replace(world, domains=(replace(found, state=PowerState.PAUSED),))
    [planned] = make_plan([WEB], paused, STARTING).domains
    assert [str(finding) for finding in planned.findings] == ["web: paused: is paused; virsh resume web resumes it"]
    assert planned.actions == ()
    assert make_plan([WEB], paused, HERE).domains[0].findings == ()


def test_a_disk_that_goes_names_the_image_that_stays() -> None:
    disk = replace(WEB.disks[0], target="vdb", image=ImageRef(pool="vms", name="web.vdb"))
    world = done([replace(WEB, disks=(*WEB.disks, disk), digest="two")], EMPTY)
    [planned] = make_plan([WEB], world, HERE).domains
    [edit] = [action for action in planned.actions if isinstance(action, DefineDomain)]
    assert "/devices/disk:vdb: vms/web.vdb, an image that is kept -> absent" in edit.text


def test_a_disk_that_comes_back_names_the_image_with_what_is_on_it() -> None:
    disk = replace(WEB.disks[0], target="vdb", image=ImageRef(pool="vms", name="web.vdb"), clone=None, size_bytes=MIB)
    two = replace(WEB, disks=(*WEB.disks, disk), digest="two")
    [planned] = make_plan([two], done([WEB], EMPTY), HERE).domains
    [new] = [action.text for action in planned.actions if isinstance(action, DefineDomain)]
    assert new == "edit definition (/devices/disk:vdb: absent -> present)"
    [planned] = make_plan([two], done([WEB], done([two], EMPTY)), HERE).domains
    [again] = [action.text for action in planned.actions if isinstance(action, DefineDomain)]
    assert again == "edit definition (/devices/disk:vdb: absent -> vms/web.vdb, an image that exists already)"


def test_a_cache_option_set_on_an_image_later_is_told_once() -> None:
    world = done([WEB], EMPTY)
    ref = WEB.disks[0].image
    image = world.images[ref]
    assert image is not None
    meddled = replace(world, images={**world.images, ref: replace(image, config={"rbd_cache": "false"})})
    [planned] = make_plan([WEB], meddled, HERE).domains
    assert [lint.code for lint in planned.lints] == ["cache-override"]
    assert all(action.quiet for action in planned.actions)
    [again] = make_plan([WEB], done([WEB], meddled), HERE).domains
    assert (again.lints, again.actions) == ((), ())


def test_a_disk_of_the_spec_whose_place_is_ignored_is_told_of() -> None:
    world = done([WEB], EMPTY)
    [found] = world.domains
    mark = found.definition.mark
    assert mark is not None
    theirs = replace(mark, ignored=(ElementPath("/devices/disk:vdb"),))
    world = replace(world, domains=(replace(found, definition=Definition(with_mark(found.definition, theirs).text)),))
    assert make_plan([WEB], world, HERE).domains[0].findings == ()
    disk = replace(WEB.disks[0], target="vdb", image=ImageRef(pool="vms", name="web.vdb"))
    [planned] = make_plan([replace(WEB, disks=(*WEB.disks, disk), digest="two")], world, HERE).domains
    assert [finding.text.partition(";")[0] for finding in planned.findings] == [
        "/devices/disk:vdb is ignored, so vms/web.vdb, which the spec puts there, is not attached"
    ]


def test_monitors_that_moved_are_followed_and_a_guest_that_would_not_survive_is_named() -> None:
    web = replace(WEB, state=WantedState.RUNNING)
    world = done([web], EMPTY, BY_SPEC)
    moved = replace(world, cluster=replace(world.cluster, monitors=(Monitor(address="10.0.9.9"),)))
    [planned] = make_plan([web], moved, BY_SPEC).domains
    [edit] = [action for action in planned.actions if isinstance(action, DefineDomain)]
    assert "/source/host: 10.0.0.1 -> 10.0.9.9" in edit.text
    assert [action for action in planned.actions if isinstance(action, LiveAction) and not action.quiet] == []
    [told] = [finding for finding in planned.findings if finding.kind is FindingKind.MONITORS]
    assert told.text.startswith("the running guest was started with monitors that are all gone (10.0.0.1)")
    assert told.text.endswith("its definition does not have the new addresses yet: define it, then restart it")


def stale(domain: Domain) -> str:
    """What is said of the monitors when they have moved and the plan was carried out."""
    world = done([domain], EMPTY, BY_SPEC)
    [found] = world.domains
    moved = replace(world, cluster=replace(world.cluster, monitors=(Monitor(address="10.0.9.9"),)))
    again = done([domain], moved, BY_SPEC)
    again = replace(again, domains=(replace(again.domains[0], live=found.live),))
    [planned] = make_plan([domain], again, BY_SPEC).domains
    return next((each.text for each in planned.findings if each.kind is FindingKind.MONITORS), "")


def test_a_restart_is_advised_only_where_the_definition_has_the_new_monitors() -> None:
    web = replace(WEB, state=WantedState.RUNNING)
    assert stale(web).endswith("nor migrate; the definition has the new addresses: restart it")
    disk = "<disk type='network'><source protocol='rbd'><host name='10.0.0.1' port='6789'/></source>"
    text = f"<devices>{disk}<target dev='vda'/></disk></devices>"
    pinned = replace(web, xml=Overlay(text=text, file="web.yaml", line=1))
    world = done([pinned], EMPTY, BY_SPEC)
    moved = replace(world, cluster=replace(world.cluster, monitors=(Monitor(address="10.0.9.9"),)))
    [planned] = make_plan([pinned], moved, BY_SPEC).domains
    assert [problem.endswith("not its monitors; leave out <host>") for problem in planned.problems] == [True]


@pytest.mark.parametrize("now", ["fd00::1", "10.0.0.1"])
def test_another_spelling_of_a_monitor_is_the_same_one(now: str) -> None:
    web = replace(WEB, state=WantedState.RUNNING)
    spelled = {"fd00::1": "fd00:0:0::0001", "10.0.0.1": "mon-a.example.com"}[now]
    world = done([web], replace(EMPTY, cluster=replace(EMPTY.cluster, monitors=(Monitor(address=spelled),))), BY_SPEC)
    same = replace(world, cluster=replace(world.cluster, monitors=(Monitor(address=now),)))
    for desired in ([web], []):
        found = [finding for plan in make_plan(desired, same, BY_SPEC).domains for finding in plan.findings]
        assert [finding for finding in found if finding.kind is FindingKind.MONITORS] == []


def test_a_detached_disk_of_another_cluster_says_nothing_of_an_image_here() -> None:
    """Another host's guest may have the image of that name here, and would lose its claim to it."""
    web = replace(WEB, state=WantedState.RUNNING)
    disk = replace(WEB.disks[0], target="vdb", image=ImageRef(pool="vms", name="web.vdb"))
    world = done([replace(web, disks=(*WEB.disks, disk), digest="two")], EMPTY, BY_SPEC)
    [found] = world.domains
    assert found.live is not None
    for monitor, image in (("10.0.0.1", disk.image), ("::ffff:10.0.0.1", disk.image), ("10.9.9.9", None)):
        live = replace(found, live=LiveDocument(found.live.text.replace("10.0.0.1", monitor)))
        [planned] = make_plan([web], replace(world, domains=(live,)), BY_SPEC).domains
        [detach] = [action for action in planned.actions if isinstance(action, DetachDevice)]
        assert (detach.device, detach.image) == ("disk:vdb", image)


def test_a_foreign_guest_whose_monitors_are_all_gone_is_named() -> None:
    world = done([replace(WEB, state=WantedState.RUNNING)], EMPTY, BY_SPEC)
    moved = replace(world, cluster=replace(world.cluster, monitors=(Monitor(address="10.0.9.9"),)))
    [named] = make_plan([], moved, HERE).domains
    assert [finding.kind for finding in named.findings] == [FindingKind.MONITORS]
    assert named.findings[0].text.startswith("runs, and would not survive a restart: the monitors in its definition")


def test_a_device_that_virsh_added_before_a_killed_define_was_recorded_is_told_of() -> None:
    world = done([WEB], EMPTY)
    [found] = world.domains
    mark = found.definition.mark
    assert mark is not None
    unrecorded = with_mark(found.definition, replace(mark, definition="")).text
    assert make_plan([WEB], with_definition(world, unrecorded), HERE).domains[0].findings == ()
    theirs = unrecorded.replace("</devices>", "<hostdev mode='subsystem' type='usb'/></devices>")
    [planned] = make_plan([WEB], with_definition(world, theirs), HERE).domains
    assert [finding.subject for finding in planned.findings] == ["/devices/hostdev"]


def with_definition(world: World, definition: str) -> World:
    [found] = world.domains
    return replace(world, domains=(replace(found, definition=Definition(definition)),))


def gone(world: World) -> World:
    """The same world without the image of web's disk."""
    return replace(world, images={**world.images, WEB.disks[0].image: None})


def test_an_image_that_a_domain_had_is_not_replaced_by_an_empty_one_without_a_word() -> None:
    world = gone(done([WEB], EMPTY))
    [planned] = make_plan([WEB], world, HERE).domains
    [made] = [action for action in planned.actions if isinstance(action, CloneImage)]
    assert made.hazards == (Hazard.LOSES_DATA,)
    assert "which is gone; virtrbd image restore vms/web.vda brings it back where it is in the trash" in made.text


def test_an_image_that_only_the_last_definition_had_is_gone_too() -> None:
    """virsh took the disk out of the domain, or undefined it, and a person removed the image."""
    world = done([WEB], EMPTY)
    [found] = world.domains
    last = {found.uuid: LastDefinition(xml=found.definition.text, hypervisor="")}
    undefined = gone(replace(world, domains=(), last_definitions=last))
    [planned] = make_plan([WEB], undefined, HERE).domains
    assert [a.hazards for a in planned.actions if isinstance(a, CloneImage)] == [(Hazard.LOSES_DATA,)]


def test_a_disk_that_a_spec_adds_to_a_domain_is_made_without_a_question() -> None:
    disk = replace(WEB.disks[0], target="vdb", image=ImageRef(pool="vms", name="web.vdb"), clone=None, size_bytes=MIB)
    two = replace(WEB, disks=(*WEB.disks, disk), digest="two")
    world = done([WEB], EMPTY)
    [planned] = make_plan([two], replace(world, images={**world.images, disk.image: None}), HERE).domains
    assert [action.hazards for action in planned.actions if isinstance(action, CreateImage)] == [()]


def test_a_cluster_without_cephx_gets_no_secret() -> None:
    assert plan_secret(EMPTY).actions
    assert plan_secret(WITHOUT_CEPHX) == SecretPlan()
