"""Who has an image open beside its guest is named, by the hosts that the image's marks know."""

from typing import Any

import pytest
from support.image_details import uses_in
from support.simulate import image_at
from support.strategies import BY_SPEC, EMPTY, HOST_UUID, MIB, OTHER_HOST_UUID, STARTING, WEB, done, uuid_of

from virtrbd.domainxml.document import LiveDocument
from virtrbd.errors import ExitCode
from virtrbd.model.domain_actions import StartDomain
from virtrbd.model.hazard import Hazard
from virtrbd.model.image import Image, ImageMark, LastRun, Watcher
from virtrbd.model.plan import DomainPlan
from virtrbd.model.power import PowerState, WantedState
from virtrbd.model.record import replace
from virtrbd.planning.plan import make_plan
from virtrbd.planning.two_writers import beyond_guests, images_of_guests
from virtrbd.planning.world import World

IMAGE = WEB.disks[0].image
OURS, THEIRS = Watcher(address="10.0.0.1:0/1", client_id=4), Watcher(address="10.0.0.2:0/7", client_id=9)
HERE_OWNED = ImageMark(domain_uuid=WEB.uuid, image_id="1", host=HOST_UUID, host_name="kvm-1")
THERE_OWNED = replace(HERE_OWNED, host=OTHER_HOST_UUID, host_name="kvm-2")
RAN_THERE = LastRun(host=OTHER_HOST_UUID, host_name="kvm-2")
RUNNING = done([WEB], EMPTY, STARTING)


def world(*watchers: Watcher, **marks: Any) -> World:
    image = replace(image_at(RUNNING, IMAGE), **marks)
    return replace(RUNNING, images={**RUNNING.images, IMAGE: image}, open_twice={IMAGE: watchers} if watchers else {})


def plan(actual: World) -> DomainPlan:
    [found] = make_plan([replace(WEB, title="new", state=WantedState.SHUT_OFF)], actual, BY_SPEC).domains
    return found


@pytest.mark.parametrize(
    "marks",
    [
        {"running_on": OTHER_HOST_UUID, "last_run": RAN_THERE},
        {"running_on": OTHER_HOST_UUID, "mark": THERE_OWNED},
        {"running_on": HOST_UUID, "last_run": RAN_THERE},
        {"running_on": HOST_UUID, "mark": THERE_OWNED, "last_run": None},
    ],
)
def test_a_second_guest_fails_the_domain_and_both_hosts_are_named(marks: dict[str, object]) -> None:
    found = plan(world(replace(OURS, is_here=True), THEIRS, **marks))
    [failure] = found.failures
    assert (found.actions, failure.exit_code) == ((), ExitCode.FAILED)
    assert f"two guests have image {IMAGE} open" in failure.text
    assert "client.4 at 10.0.0.1:0 (this host), client.9 at 10.0.0.2:0" in failure.text
    assert f"here, on host kvm-1, the other, by the image's marks, on host kvm-2 ({OTHER_HOST_UUID})." in failure.text
    assert "virtrbd destroy web --allow interrupts-guest" in failure.text


def test_where_no_mark_names_another_host_it_is_another_client() -> None:
    [failure] = plan(world(OURS, THEIRS, running_on=HOST_UUID, mark=HERE_OWNED)).failures
    assert f"another client has image {IMAGE} open beside the guest of this host, kvm-1: client.4" in failure.text
    assert f"rbd status {IMAGE}" in failure.text


def test_a_guest_alone_and_a_guest_that_is_off_fail_nothing() -> None:
    assert plan(world(running_on=OTHER_HOST_UUID)).failures == ()
    off = replace(
        world(OURS, THEIRS), domains=tuple(replace(d, live=None, state=PowerState.SHUT_OFF) for d in RUNNING.domains)
    )
    assert plan(off).failures == ()


def test_a_second_guest_on_this_host_is_named_by_its_domain() -> None:
    [web] = RUNNING.domains
    twin = replace(web, name="twin", uuid=uuid_of("twin"))
    actual = uses_in(replace(world(OURS, THEIRS), domains=(web, twin)))
    found = next(each for each in make_plan([WEB], actual, BY_SPEC).domains if each.name == "web")
    assert found.failures == ()
    assert "is already written by domain twin" in found.problems[0]


def test_only_what_the_guest_has_for_itself_alone_is_asked_for() -> None:
    assert images_of_guests([WEB], RUNNING.domains) == (IMAGE,)
    shared = replace(WEB, disks=(replace(WEB.disks[0], shareable=True),))
    assert images_of_guests([shared], RUNNING.domains) == ()
    assert (
        images_of_guests(
            [replace(WEB, disks=(replace(WEB.disks[0], image=replace(IMAGE, name="new")),))], RUNNING.domains
        )
        == ()
    )


def test_a_start_that_takes_over_says_from_whom() -> None:
    off = done([WEB], EMPTY)
    image = replace(image_at(off, IMAGE), running_on=OTHER_HOST_UUID, last_run=RAN_THERE)
    [found] = make_plan([WEB], replace(off, images={**off.images, IMAGE: image}), STARTING).domains
    [start] = [action for action in found.actions if isinstance(action, StartDomain)]
    assert start.hazards == (Hazard.TAKES_OVER,)
    assert (
        f"last started on host kvm-2 ({OTHER_HOST_UUID}), which may still run it or hold its managed save" in start.text
    )


def test_a_host_is_told_by_the_name_that_any_mark_has() -> None:
    image = Image(ref=IMAGE, image_id="1", size_bytes=MIB, created_at=0, running_on=OTHER_HOST_UUID, last_run=RAN_THERE)
    assert image.running_on_label == f"kvm-2 ({OTHER_HOST_UUID})"
    assert replace(image, last_run=None).running_on_label == OTHER_HOST_UUID
    assert replace(image, running_on="").running_on_label == ""


def test_a_guest_that_has_its_disk_in_a_drive_too_is_two_clients_by_itself() -> None:
    [web] = RUNNING.domains
    assert web.live is not None
    xml = web.live.text
    start = xml.index("<disk ")
    drive = xml[start : xml.index("</disk>") + 7].replace('dev="vda"', 'dev="sdz"')
    twice = replace(web, live=LiveDocument(xml[:start] + drive + xml[start:]))
    assert beyond_guests({IMAGE: (OURS, THEIRS)}, [web]) == {IMAGE: (OURS, THEIRS)}
    assert beyond_guests({IMAGE: (OURS, THEIRS)}, [twice]) == {}
    assert plan(replace(world(OURS, THEIRS, running_on=HOST_UUID), domains=(twice,))).failures == ()
