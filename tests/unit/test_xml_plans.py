"""Plans for what a spec's `xml:` says: by the document, whatever the spec's fields say."""

from collections.abc import Sequence

import pytest
from support.strategies import BY_SPEC, EMPTY, HERE, WEB, done

from virtrbd.domainxml.live import current_memory, current_vcpus
from virtrbd.model.actions import Action
from virtrbd.model.devices import Interface
from virtrbd.model.domain import Domain
from virtrbd.model.domain_actions import DefineDomain
from virtrbd.model.hazard import Hazard
from virtrbd.model.live_actions import LiveAction
from virtrbd.model.overlay import Overlay
from virtrbd.model.power import WantedState
from virtrbd.model.record import replace
from virtrbd.planning.plan import make_plan
from virtrbd.planning.world import World

MAC = "52:54:00:00:00:01"
RBD = "<disk type='network'><source protocol='rbd' name='vms/one'>{}</source><target dev='vdb' bus='virtio'/></disk>"
FILE = "<disk type='file'><source file='/srv/one'/><target dev='vdb' bus='virtio'/></disk>"
ISO = "<disk type='file' device='cdrom'>{}<target dev='sda' bus='sata'/><readonly/></disk>"


def with_xml(xml: str, domain: Domain = WEB) -> Domain:
    return replace(domain, xml=Overlay(text=xml, file="web.yaml", line=1), digest=xml)


def devices(xml: str) -> Domain:
    return with_xml(f"<devices>{xml}</devices>")


def hazards(domain: Domain, world: World) -> tuple[Hazard, ...]:
    [planned] = make_plan([domain], world, HERE).domains
    [edit] = [action for action in planned.actions if isinstance(action, DefineDomain)]
    return edit.hazards


HOST = "<host name='10.1.0.1'/>"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (RBD.format(""), RBD.format("").replace("vms/one", "vms/two")),
        (RBD.format(""), RBD.format("<snapshot name='s'/>")),
        (RBD.format(""), RBD.format(HOST)),
        (RBD.format(HOST), RBD.format(HOST.replace("10.1", "10.2"))),
        (RBD.format(""), FILE),
        (FILE, FILE.replace("one", "two")),
        (
            "<disk type='volume'><source pool='p' volume='one'/><target dev='vdb' bus='virtio'/></disk>",
            "<disk type='volume'><source pool='p' volume='two'/><target dev='vdb' bus='virtio'/></disk>",
        ),
        (
            "<disk type='block'><source dev='/dev/one'/><target dev='vdb' bus='virtio'/></disk>",
            "<disk type='block'><source dev='/dev/two'/><target dev='vdb' bus='virtio'/></disk>",
        ),
    ],
)
def test_another_source_behind_a_known_target_loses_data(before: str, after: str) -> None:
    assert hazards(devices(after), done([devices(before)], EMPTY)) == (Hazard.LOSES_DATA,)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (ISO.format("<source file='/srv/one'/>"), ISO.format("<source file='/srv/two'/>")),
        (RBD.format(HOST), RBD.format(HOST + "<host name='10.1.0.2'/>")),
        (RBD.format(""), RBD.format("<host name='10.0.0.1'/>")),
        (FILE, FILE.replace("<target", "<driver name='qemu' cache='none'/><target")),
    ],
    ids=["a medium", "a monitor more", "this cluster's monitors", "the same source"],
)
def test_what_leaves_a_disk_its_data_does_not(before: str, after: str) -> None:
    assert hazards(devices(after), done([devices(before)], EMPTY)) == ()


RUNNING = replace(
    WEB, state=WantedState.RUNNING, vcpus=4, interfaces=(Interface(network="default", model="virtio", mac=MAC),)
)


def live_plan(before: str, after: str) -> tuple[Sequence[Action], World]:
    """Return what a running guest gets when its `xml:` changes, and the world after it."""
    world = done([with_xml(before, RUNNING)], EMPTY, BY_SPEC)
    wanted = with_xml(after, RUNNING)
    [planned] = make_plan([wanted], world, BY_SPEC).domains
    actions = [action for action in planned.actions if isinstance(action, LiveAction) and not action.quiet]
    return actions, done([wanted], world, BY_SPEC)


@pytest.mark.parametrize(
    ("xml", "text"),
    [
        ("<vcpu current='2'>4</vcpu>", "set the guest's vcpus from 4 to 2"),
        ("<currentMemory unit='MiB'>128</currentMemory>", "set the guest's memory from 256 MiB to 128 MiB"),
        (
            f"<devices><interface type='network'><mac address='{MAC}'/><link state='down'/></interface></devices>",
            f"set link of interface {MAC} down",
        ),
    ],
)
def test_a_running_guest_gets_what_the_document_says(xml: str, text: str) -> None:
    [action], after = live_plan("<title>a</title>", f"<title>a</title>{xml}")
    assert (action.text, action.hazards) == (text, (Hazard.INTERRUPTS_GUEST,))
    [again] = make_plan([with_xml(f"<title>a</title>{xml}", RUNNING)], after, BY_SPEC).domains
    assert again.actions == ()


def test_a_balloon_is_marked_as_the_document_says() -> None:
    world = done(
        [with_xml("<currentMemory unit='MiB'>128</currentMemory><vcpu current='2'>4</vcpu>", RUNNING)], EMPTY, BY_SPEC
    )
    [found] = world.domains
    assert found.live is not None
    assert 'balloon="134217728"' in found.live.text
    assert current_memory(found.live.tree).current == 128 * 1024**2
    assert current_vcpus(found.live.tree).current == 2


def test_a_file_in_a_drive_is_inserted_not_ejected() -> None:
    drive = "<devices>" + ISO + "</devices>"
    [action], _ = live_plan(
        drive.format("<source file='/srv/one.iso'/>"), drive.format("<source file='/srv/two.iso'/>")
    )
    assert (action.text, action.hazards) == ("insert /srv/two.iso into sda", ())
    [action], _ = live_plan(drive.format("<source file='/srv/one.iso'/>"), drive.format(""))
    assert (action.text, action.hazards) == ("eject sda", (Hazard.INTERRUPTS_GUEST,))
