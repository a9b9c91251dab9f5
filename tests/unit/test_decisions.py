"""What a run may do at once, what it tells again, and how a domain is retired."""

from collections.abc import Sequence

import pytest
from support.interrupted import interrupted
from support.simulate import simulate
from support.strategies import EMPTY as NOWHERE
from support.strategies import HOST_UUID, OTHER_HOST_UUID, WEB, done, started, without_mark

from virtrbd.domainxml.defined import DefinedDomain
from virtrbd.errors import ExitCode
from virtrbd.model.actions import Action
from virtrbd.model.difference import Difference
from virtrbd.model.domain_actions import DefineDomain, RenewMark, SetAutostart, StartDomain, UndefineDomain
from virtrbd.model.element_path import ElementPath
from virtrbd.model.hazard import Hazard
from virtrbd.model.image import Image
from virtrbd.model.plan import DomainPlan, Finding, FindingKind, Outcome, Result
from virtrbd.model.power import PowerState
from virtrbd.model.record import replace
from virtrbd.model.retirement import Kept, RetiredImage, Retirement
from virtrbd.planning.change_limit import too_many
from virtrbd.planning.objections import Objection
from virtrbd.planning.removal import RemovalPlan
from virtrbd.planning.report_once import is_reported_once, message_of, news
from virtrbd.planning.retirement import plan_rest, plan_retirement
from virtrbd.planning.world import World

CHANGE = SetAutostart(domain_uuid="u", autostart=True)


def plans(changed: int, existing: int, change: Action = CHANGE) -> list[DomainPlan]:
    return [DomainPlan(name=f"d{n}", exists=True, actions=(change,) if n < changed else ()) for n in range(existing)]


def edit(*paths: str) -> DefineDomain:
    differences = tuple(Difference(path=ElementPath(path), wanted="a", found="b") for path in paths)
    return DefineDomain(domain_uuid="u", xml="", inputs="", based_on="x", differences=differences)


@pytest.mark.parametrize(
    ("changed", "existing", "percent", "is_stopped"),
    [(9, 9, 30, False), (3, 10, 30, False), (4, 10, 30, True), (4, 10, 40, False), (1, 10, 0, True), (0, 10, 0, False)],
)
def test_a_run_that_would_change_too_much_is_stopped(
    changed: int, existing: int, percent: int, is_stopped: bool
) -> None:
    assert bool(too_many(plans(changed, existing), percent)) is is_stopped


def test_a_stopped_run_names_the_share_and_the_flag() -> None:
    assert too_many(plans(4, 11), 30) == (
        "4 of 11 domains would be changed, more than 30 %: nothing was done. Is this the right directory? "
        "--limit 37% allows it"
    )
    assert too_many(plans(4, 11), 37) == "", "and that flag does"


def test_new_domains_are_no_change_of_existing_ones() -> None:
    made = [replace(plan, exists=False) for plan in plans(20, 20)]
    assert too_many([*plans(0, 10), *made], 30) == ""


@pytest.mark.parametrize(
    ("change", "is_stopped"),
    [
        (StartDomain(domain_uuid="u"), False),
        (RenewMark(domain_uuid="u", inputs=""), False),
        (edit("/devices/disk:vda/source/host", "/devices/disk:vdb/source/host"), False),
        (edit("/devices/disk:vda/source/host", "/memory"), True),
        (edit(), True),
    ],
    ids=["after a power cut", "digests", "moved monitors", "and more memory", "marks"],
)
def test_what_no_wrong_directory_brings_about_is_not_counted(change: Action, is_stopped: bool) -> None:
    assert bool(too_many(plans(10, 10, change), 30)) is is_stopped


PENDING = Finding(domain="web", kind=FindingKind.PENDING, subject="/memory", text="1 -> 2")
BLOCKED = Outcome(domain="web", text="detach disk vdb", result=Result.BLOCKED, detail="needs --allow x")


def test_a_thing_is_news_when_it_appears_or_changes() -> None:
    fresh, told = news([message_of(PENDING), message_of(BLOCKED)], {})
    assert fresh == {message_of(PENDING).key, message_of(BLOCKED).key}
    assert news([message_of(PENDING), message_of(BLOCKED)], told) == (frozenset(), told)
    changed = message_of(replace(PENDING, text="1 -> 3"))
    assert news([changed, message_of(BLOCKED)], told)[0] == {changed.key}


def test_what_is_gone_may_come_again() -> None:
    _, told = news([message_of(PENDING)], {})
    _, none = news([], told)
    assert none == {}
    assert news([message_of(PENDING)], none)[0] == {message_of(PENDING).key}


def test_a_problem_in_a_spec_is_told_by_its_text() -> None:
    assert news([message_of("web.yaml:1: no")], {})[0] == {"|problem|web.yaml:1: no"}


@pytest.mark.parametrize(
    ("outcome", "once"),
    [
        (BLOCKED, True),
        (replace(BLOCKED, result=Result.PENDING), True),
        (replace(BLOCKED, result=Result.FAILED, detail="", exit_code=ExitCode.SPEC), True),
        (replace(BLOCKED, result=Result.FAILED), False),
        (replace(BLOCKED, result=Result.UNKNOWN), False),
        (replace(BLOCKED, result=Result.DONE), False),
    ],
)
def test_what_only_a_person_can_end_is_told_once(outcome: Outcome, once: bool) -> None:
    assert is_reported_once(outcome) is once


def web() -> tuple[DefinedDomain, list[Image]]:
    world = done([WEB], NOWHERE)
    image = world.images[WEB.disks[0].image]
    assert image is not None
    return world.domains[0], [image]


def steps(found: DefinedDomain, images: list[Image]) -> list[tuple[str, str]]:
    plan = plan_retirement(found, images, HOST_UUID, delay_s=86400)
    return [(action.text, ",".join(action.hazards)) for action in plan.actions]


TRASH = ("move image vms/web.vda to the trash for 1 days", "loses-data")
UNDEFINE = ("undefine domain", "forgets-domain")


def test_a_domain_is_retired_step_by_step_and_each_asks() -> None:
    found, images = web()
    assert steps(found, images) == [UNDEFINE, TRASH]
    assert steps(started(found), images) == [("shut down domain", "interrupts-guest"), UNDEFINE, TRASH]
    saved = replace(found, state=PowerState.SAVED)
    assert steps(saved, images)[0] == ("drop the managed save: the memory of the guest", "loses-data")


def test_images_of_others_stay_when_a_domain_is_retired() -> None:
    found, [image] = web()
    assert steps(found, [replace(image, mark=None)]) == [UNDEFINE]
    assert image.mark is not None
    elsewhere = replace(image, mark=replace(image.mark, host=OTHER_HOST_UUID))
    text, hazards = steps(found, [elsewhere])[-1]
    assert text == f"{TRASH[0]}, although it belongs to domain {found.uuid} of host {OTHER_HOST_UUID}"
    assert hazards == "loses-data,takes-over"


def test_what_may_be_allowed_against_trashing_an_image_is_asked_for_and_named() -> None:
    found, [image] = web()
    started_elsewhere = Objection(text="it was last started on host b", way_out="", hazard=Hazard.TAKES_OVER)
    removal = RemovalPlan(subject=image.ref, blockers=(started_elsewhere,))
    plan = plan_retirement(found, [image], HOST_UUID, delay_s=86400, removals=[removal])
    assert (plan.actions[-1].text, plan.actions[-1].hazards) == (
        f"{TRASH[0]}, although it was last started on host b", (Hazard.LOSES_DATA, Hazard.TAKES_OVER)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kept", "says"),
    [
        (Kept(snapshots=("s1", "s2")), "virsh snapshot-delete --metadata web s1, or forget them all with"),
        (Kept(checkpoints=("c1",)), "virsh checkpoint-delete --metadata web c1, or forget them all with"),
    ],
)
def test_what_libvirt_would_refuse_to_forget_is_asked_before_anything_is_done(kept: Kept, says: str) -> None:
    found, images = web()
    plan = plan_retirement(found, images, HOST_UUID, delay_s=86400, kept=kept)
    assert plan.actions == ()
    assert [says in reason for reason in plan.held_back] == [True]
    forgetting = plan_retirement(found, images, HOST_UUID, delay_s=86400, kept=kept, forget_snapshots=True)
    assert [action.text for action in forgetting.actions] == [
        "undefine domain and forget its snapshots and checkpoints", TRASH[0]
    ]  # fmt: skip


def test_a_block_job_and_what_keeps_an_image_from_the_trash_are_found_before_anything_is_done() -> None:
    found, images = web()
    removal = RemovalPlan(
        subject=images[0].ref,
        blockers=(
            Objection(text="it is mirrored", way_out="rbd mirror image disable vms/web.vda"),
            Objection(text="it belongs to host x", way_out="do it there", hazard=Hazard.TAKES_OVER),
        ),
    )
    plan = plan_retirement(found, images, HOST_UUID, delay_s=86400, kept=Kept(block_jobs=("vda",)), removals=[removal])
    assert (plan.actions, plan.held_back) == ((), ())
    job, mirrored = plan.failures
    assert "a block job is at work on its disk vda" in job.text
    assert mirrored.text == (
        "image vms/web.vda can't go to the trash: it is mirrored; rbd mirror image disable vms/web.vda"
    )
    assert {failure.exit_code for failure in plan.failures} == {ExitCode.FAILED}


def test_a_retirement_that_was_cut_off_goes_on_with_the_images_of_its_record() -> None:
    found, images = web()
    plan = plan_retirement(found, images, HOST_UUID, delay_s=86400)
    [undefine] = [action for action in plan.actions if isinstance(action, UndefineDomain)]
    assert undefine.retirement is not None
    rest = plan_rest(undefine.retirement, undefine.retirement.images)
    assert [(action.text, action.hazards) for action in rest.actions] == [(TRASH[0], ())]
    assert (rest.name, rest.uuid) == ("web", found.uuid)
    used = RemovalPlan(subject=images[0].ref, blockers=(Objection(text="domain twin has it"),))
    kept = plan_rest(undefine.retirement, undefine.retirement.images, [used])
    assert kept.actions == ()
    assert ["domain twin has it" in failure.text for failure in kept.failures] == [True]


@pytest.mark.parametrize("state", [PowerState.SHUT_OFF, PowerState.RUNNING, PowerState.SAVED])
def test_a_retirement_that_a_kill_ends_anywhere_is_finished_by_the_next(state: PowerState) -> None:
    world = done([WEB], NOWHERE)
    [found] = world.domains
    began = started(found) if state is PowerState.RUNNING else replace(found, state=state)
    world = replace(world, domains=(began,))
    actions = retirement(world)
    assert len(actions) == (2 if state is PowerState.SHUT_OFF else 3)
    for index, action in enumerate(actions):
        for left in interrupted(action, world):
            end = left
            for rest in retirement(left, retired_by(actions[:index])):
                end = simulate(rest, end)
            assert end.domains == ()
            assert [image.ref for image in end.images.values() if image and image.is_of(found.uuid)] == []
        world = simulate(action, world)


def retired_by(done_before: Sequence[Action]) -> Retirement | None:
    """What the run wrote down, where it came to the undefine."""
    return next((each.retirement for each in done_before if isinstance(each, UndefineDomain)), None)


def retirement(world: World, began: Retirement | None = None) -> tuple[Action, ...]:
    if world.domains:
        images = [image for image in world.images.values() if image]
        return plan_retirement(world.domains[0], images, HOST_UUID, delay_s=86400).actions
    assert began is not None
    return plan_rest(began, [each for each in began.images if world.images[each.ref]]).actions


def test_undefine_keeps_images_and_records_whose_they_are() -> None:
    found, [image] = web()
    plan = plan_retirement(found, [image], HOST_UUID, delay_s=86400, keep_images=True)
    [undefine] = plan.actions
    assert isinstance(undefine, UndefineDomain)
    assert (undefine.hazards, undefine.retirement) == ((Hazard.FORGETS_DOMAIN,), None)
    assert undefine.owned == (RetiredImage(ref=image.ref, image_id=image.image_id),)


def test_a_domain_that_is_not_ours_is_retired_by_taking_it_over() -> None:
    found, _ = web()
    assert all("takes-over" in hazards for _, hazards in steps(started(without_mark(found)), []))
