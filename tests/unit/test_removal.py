"""How an image is removed: every blocker by name, and the steps that clear what steps can clear."""

from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.image_details import (
    CHILD,
    HERE,
    IMAGE,
    OTHERS,
    REF,
    THERE,
    TRASHED_CHILD,
    WATCHER,
    details,
    details_of,
    snapshot,
    use_of,
    uses,
)  # fmt: skip
from support.removed import cut_off_removals, simulate_removal

from virtrbd.commands.output.removal import exit_code_of, plan_lines
from virtrbd.errors import ExitCode
from virtrbd.model.hazard import Hazard
from virtrbd.model.image import Image, ImageMark
from virtrbd.model.image_details import Child, ImageDetails, SnapshotKind
from virtrbd.model.image_state import RollingBack
from virtrbd.model.image_use import DomainUse
from virtrbd.model.power import PowerState
from virtrbd.model.record import replace
from virtrbd.model.removal_actions import FlattenClone, RemoveImage, RemoveSnapshot, TrashImage, UnprotectSnapshot
from virtrbd.planning.removal import RemovalPlan, plan_purge, plan_removal, plan_snapshot_removal

DAY_S = 86400.0
ALL = frozenset(Hazard)
THEIRS = replace(IMAGE, mark=ImageMark(domain_uuid="u", image_id="1", host=THERE))


def trash(known: ImageDetails, in_use: tuple[DomainUse, ...] | None = ()) -> RemovalPlan:
    return plan_removal(known, in_use, HERE, delay_s=14 * DAY_S)


def for_good(known: ImageDetails, in_use: tuple[DomainUse, ...] | None = ()) -> RemovalPlan:
    return plan_removal(known, in_use, HERE, delay_s=None)


def texts(plan: RemovalPlan) -> list[str]:
    return [blocker.text for blocker in plan.blockers]


def steps(plan: RemovalPlan) -> list[str]:
    return [step.text for step in plan.steps]


def test_an_image_that_nobody_uses_goes_to_the_trash_in_one_step() -> None:
    plan = trash(details_of())
    assert (plan.blockers, steps(plan)) == ((), ["move vms/web.vda to the trash for 14d"])


def test_snapshots_go_to_the_trash_with_their_image() -> None:
    plan = trash(details_of(snapshot(protected=True)))
    assert (plan.blockers, len(plan.steps)) == ((), 1)


def test_for_good_each_snapshot_is_named_and_taken_away_first() -> None:
    plan = for_good(details_of(snapshot("s1"), snapshot("s2", protected=True)))
    assert texts(plan) == [
        "it has the user snapshot s1", "it has the user snapshot s2, protected", "it can't be restored"
    ]  # fmt: skip
    assert steps(plan) == [
        "remove snapshot vms/web.vda@s1",
        "unprotect vms/web.vda@s2",
        "remove snapshot vms/web.vda@s2",
        "remove vms/web.vda for good",
    ]


def test_clones_also_those_in_the_trash_keep_it_and_are_flattened_by_their_id() -> None:
    plan = trash(details_of(snapshot("s1", SnapshotKind.USER, CHILD, TRASHED_CHILD)))
    assert texts(plan) == ["snapshot s1 has clones: vms/clone, vms/gone (in the trash, id c2)"]
    assert plan.steps[:2] == (
        FlattenClone(child=CHILD, parent=REF), FlattenClone(child=TRASHED_CHILD, parent=REF)
    )  # fmt: skip
    assert plan.standing(clear=True, allowed=frozenset()) == ()


def marked(child: Child, host: str = HERE, domain: str = "") -> Child:
    return replace(child, mark=ImageMark(domain_uuid=domain, image_id=child.image_id, host=host))


@pytest.mark.parametrize(
    ("clone", "text", "way_out"),
    [
        (marked(CHILD, THERE), "clone vms/clone: it belongs to host there", "do it there"),
        (marked(CHILD, THERE, "u"), "clone vms/clone: it belongs to domain u of host there", "do it there"),
        (marked(CHILD, HERE, "u"), "clone vms/clone: it belongs to domain u", "virtrbd image flatten vms/clone"),
        (
            marked(TRASHED_CHILD, HERE, "u"),
            "clone vms/gone (in the trash, id c2): it belongs to domain u",
            "virtrbd image restore --id c2 vms/gone",
        ),
    ],
)
def test_a_clone_of_another_is_flattened_only_when_that_is_allowed(clone: Child, text: str, way_out: str) -> None:
    known = details_of(snapshot("s1", SnapshotKind.USER, clone))
    of_snapshot = plan_snapshot_removal(known, "s1", (), HERE)
    assert of_snapshot is not None
    for plan in (trash(known), of_snapshot, plan_purge(known, HERE, is_expired=True)):
        [blocker] = plan.standing(clear=True, allowed=frozenset())
        assert (blocker.text, blocker.way_out, blocker.hazard) == (text, way_out, Hazard.TAKES_OVER)
        assert plan.standing(clear=True, allowed=frozenset({Hazard.TAKES_OVER})) == ()


def test_a_clone_made_by_hand_here_or_of_the_same_domain_is_its_parent_s_owner_s() -> None:
    mine = replace(IMAGE, mark=ImageMark(domain_uuid="u", image_id="1", host=HERE))
    known = details_of(snapshot("s1", SnapshotKind.USER, marked(CHILD), marked(TRASHED_CHILD, HERE, "u")), image=mine)
    assert trash(known).standing(clear=True, allowed=frozenset()) == ()


def test_a_clone_that_is_not_whole_is_not_flattened_whatever_is_allowed() -> None:
    def again(name: str) -> str:
        drop = f"rbd image-meta remove {name} virtrbd.state"
        return f"wait until that ends, or run it again; where its mark virtrbd.state is wrong, drop that: {drop}"

    half = [replace(each, state=RollingBack("x")) for each in (CHILD, TRASHED_CHILD)]
    plan = trash(details_of(snapshot("s1", SnapshotKind.USER, *half)))
    assert [(each.text, each.way_out) for each in plan.standing(clear=True, allowed=ALL)] == [
        ("clone vms/clone: it is not ready: rolling back to x", again("vms/clone")),
        (
            "clone vms/gone (in the trash, id c2): it is not ready: rolling back to x",
            f"virtrbd image restore --id c2 vms/gone, then: {again('vms/gone')}",
        ),
    ]


def test_a_removed_snapshot_that_clones_still_need_is_told_from_one_that_is_there() -> None:
    plan = for_good(details_of(snapshot("s1", SnapshotKind.TRASH, CHILD)))
    assert "snapshot s1 (removed, and kept for them in the trash) has clones: vms/clone" in texts(plan)
    assert steps(plan) == ["flatten vms/clone", "remove vms/web.vda for good"], "it goes by itself with its last clone"


@pytest.mark.parametrize(
    ("kind", "text", "way_out"),
    [
        (SnapshotKind.GROUP, "it has the group snapshot vms/group1@snap1", "rbd group snap remove vms/group1@snap1"),
        (SnapshotKind.MIRROR, "it has the mirror snapshot s1", "rbd mirror image disable vms/web.vda"),
        (SnapshotKind.UNKNOWN, "it has the unknown snapshot s1", "rbd snap ls --all vms/web.vda"),
    ],
)
def test_snapshots_that_are_not_ours_to_remove_are_named_with_the_command(
    kind: SnapshotKind, text: str, way_out: str
) -> None:
    for plan in (trash(details_of(snapshot(kind=kind))), for_good(details_of(snapshot(kind=kind)))):
        [blocker] = [each for each in plan.blockers if each.text == text]
        assert blocker.way_out == way_out
        assert blocker in plan.standing(clear=True, allowed=ALL), "neither steps nor flags take it away"


def test_a_group_and_a_mirror_are_left_by_hand() -> None:
    plan = trash(details_of(group="vms/group1", mirroring=True))
    assert [(each.text, each.way_out) for each in plan.blockers] == [
        ("it is mirrored", "rbd mirror image disable vms/web.vda"),
        ("it is in group vms/group1", "rbd group image remove vms/group1 vms/web.vda"),
    ]


@pytest.mark.parametrize("state", [PowerState.SHUT_OFF, PowerState.SAVED])
def test_a_domain_that_is_off_needs_its_disks_too(state: PowerState) -> None:
    assert "domain web has it as disk vda" in texts(trash(details_of(), (use_of(state),)))


def test_a_running_domain_is_named_once() -> None:
    plan = trash(details_of(image=replace(IMAGE, watchers=(WATCHER,))), (use_of(PowerState.RUNNING),))
    assert texts(plan) == ["domain web is running with it (disk vda)"]


def test_another_host_s_image_is_removed_only_when_that_is_allowed() -> None:
    plan = trash(details_of(image=THEIRS))
    assert [each.hazard for each in plan.blockers] == [Hazard.TAKES_OVER]
    assert plan.standing(clear=True, allowed=frozenset({Hazard.LOSES_DATA})) == plan.blockers
    assert plan.standing(clear=False, allowed=frozenset({Hazard.TAKES_OVER})) == ()


def test_a_snapshot_is_unprotected_and_removed_after_its_clones_were_parted() -> None:
    kept = snapshot("s1", SnapshotKind.USER, CHILD, protected=True)
    plan = plan_snapshot_removal(details_of(kept, snapshot("s2")), "s1", (), HERE)
    assert plan is not None
    assert texts(plan) == ["snapshot s1 has clones: vms/clone", "snapshot s1 is protected"]
    assert steps(plan) == ["flatten vms/clone", "unprotect vms/web.vda@s1", "remove snapshot vms/web.vda@s1"]


def test_a_snapshot_whose_removal_was_cut_off_is_removed_by_its_id() -> None:
    plan = plan_snapshot_removal(details_of(snapshot("s1", SnapshotKind.TRASH)), "s1", (), HERE)
    assert plan is not None
    [step] = plan.steps
    assert isinstance(step, RemoveSnapshot)
    assert step.snapshot_id


def test_only_snapshots_that_people_made_are_removed_by_name() -> None:
    known = details_of(snapshot("s1", SnapshotKind.GROUP), snapshot("s2", SnapshotKind.TRASH, CHILD))
    assert plan_snapshot_removal(known, "s2", (), HERE) is None
    assert plan_snapshot_removal(known, "s1", (), HERE) is None
    assert plan_snapshot_removal(known, "nope", (), HERE) is None


@pytest.mark.parametrize("image", [THEIRS, replace(IMAGE, state=RollingBack("s1"))])
def test_a_snapshot_of_another_host_s_image_or_one_at_work_is_kept(image: Image) -> None:
    plan = plan_snapshot_removal(details_of(snapshot(), image=image), "s1", (), HERE)
    assert plan is not None
    assert len(plan.blockers) == 1
    assert plan.standing(clear=True, allowed=frozenset()) == plan.blockers


def test_a_purge_takes_what_has_waited_its_time_with_its_snapshots() -> None:
    known = details_of(snapshot("s1", protected=True), image=THEIRS)
    plan = plan_purge(known, HERE, is_expired=True)
    assert (plan.blockers, steps(plan)) == (
        (), ["unprotect vms/web.vda@s1", "remove snapshot vms/web.vda@s1", "remove vms/web.vda for good"]
    )  # fmt: skip


def test_a_purge_before_its_time_loses_data_and_takes_over() -> None:
    plan = plan_purge(details_of(image=THEIRS), HERE, is_expired=False)
    assert [each.hazard for each in plan.blockers] == [Hazard.LOSES_DATA, Hazard.TAKES_OVER]


def test_a_purge_leaves_what_clones_need_and_what_is_open() -> None:
    known = details_of(snapshot("s1", SnapshotKind.USER, CHILD), image=replace(IMAGE, watchers=OTHERS))
    plan = plan_purge(known, HERE, is_expired=True)
    [clones, client] = sorted(plan.standing(clear=False, allowed=ALL), key=lambda each: each.lingers)
    assert "has clones: vms/clone" in clones.text
    assert client.text == "it is open by client.7 at 10.0.0.7:0, client.8 at 10.0.0.7:0"


@pytest.mark.parametrize(
    ("known", "code"),
    [
        (details_of(), ExitCode.OK),
        (details_of(snapshot("s1", SnapshotKind.USER, CHILD)), ExitCode.BLOCKED),
        (details_of(image=THEIRS), ExitCode.BLOCKED),
        (details_of(image=replace(IMAGE, watchers=(WATCHER,))), ExitCode.FAILED),
        (details_of(image=replace(THEIRS, watchers=(WATCHER,))), ExitCode.FAILED),
        (details_of(group="vms/group1"), ExitCode.FAILED),
    ],
)
def test_only_what_waits_for_a_flag_alone_is_blocked(known: ImageDetails, code: ExitCode) -> None:
    assert exit_code_of(trash(known).standing(clear=False, allowed=frozenset())) is code


@given(details(), uses)
def test_a_removal_is_blocked_just_where_all_flags_together_let_it_through(
    known: ImageDetails, in_use: tuple[DomainUse, ...] | None
) -> None:
    for plan in all_plans(known, in_use):
        code = exit_code_of(plan.standing(clear=False, allowed=frozenset()))
        assert (code is ExitCode.FAILED) == bool(plan.standing(clear=True, allowed=ALL))


def test_the_plan_reads_as_reasons_with_their_way_out_and_numbered_steps() -> None:
    plan = for_good(details_of(snapshot("s1", SnapshotKind.USER, CHILD)))
    assert plan_lines(plan, plan.standing(clear=False, allowed=frozenset())) == [
        "vms/web.vda: kept by",
        "  snapshot s1 has clones: vms/clone; the steps below clear it: --clear",
        "  it has the user snapshot s1; the steps below clear it: --clear",
        "  it can't be restored; leave out --now, or --allow loses-data",
        "steps:",
        "  1. flatten vms/clone",
        "  2. remove snapshot vms/web.vda@s1",
        "  3. remove vms/web.vda for good",
    ]


def all_plans(known: ImageDetails, in_use: tuple[DomainUse, ...] | None) -> list[RemovalPlan]:
    found = [trash(known, in_use), for_good(known, in_use)]
    found += [plan_purge(known, HERE, is_expired=is_expired) for is_expired in (True, False)]
    of_snapshots = [plan_snapshot_removal(known, each.name, in_use, HERE) for each in known.snapshots]
    return found + [plan for plan in of_snapshots if plan]


@given(details(), uses)
def test_every_clone_of_what_goes_is_a_blocker_with_its_step(
    known: ImageDetails, in_use: tuple[DomainUse, ...] | None
) -> None:
    for plan in all_plans(known, in_use):
        concerned = [each for each in known.snapshots if plan.subject.snapshot in ("", each.name)]
        clones = [child for each in concerned for child in each.children]
        assert [step.child for step in plan.steps if isinstance(step, FlattenClone)] == clones
        for child in clones:
            assert any(str(child) in each.text and each.is_cleared_by_steps for each in plan.blockers)


@given(details(), uses)
def test_what_steps_clear_has_a_step_and_what_is_kept_by_hand_says_how(
    known: ImageDetails, in_use: tuple[DomainUse, ...] | None
) -> None:
    for plan in all_plans(known, in_use):
        for blocker in plan.blockers:
            assert blocker.is_cleared_by_steps or blocker.way_out
        if any(each.is_cleared_by_steps for each in plan.blockers):
            assert len(plan.steps) > 1


@given(details(), uses)
def test_steps_come_in_the_order_that_rbd_demands(known: ImageDetails, in_use: tuple[DomainUse, ...] | None) -> None:
    for plan in all_plans(known, in_use):
        for at, step in enumerate(plan.steps):
            before, after = plan.steps[:at], plan.steps[at + 1 :]
            if isinstance(step, RemoveSnapshot):
                [of] = [each for each in known.snapshots if each.name == step.ref.snapshot]
                assert set(of.children) <= {each.child for each in before if isinstance(each, FlattenClone)}
                unprotected = [each.ref for each in before if isinstance(each, UnprotectSnapshot)]
                assert (step.ref in unprotected) == of.protected
            if isinstance(step, RemoveImage | TrashImage):
                assert not after


@given(details(), uses)
def test_for_good_no_snapshot_that_people_made_is_left(
    known: ImageDetails, in_use: tuple[DomainUse, ...] | None
) -> None:
    plan = for_good(known, in_use)
    removed = {step.ref.snapshot for step in plan.steps if isinstance(step, RemoveSnapshot)}
    assert removed == {each.name for each in known.snapshots if each.kind is SnapshotKind.USER}


def makers(known: ImageDetails) -> list[Callable[[ImageDetails], RemovalPlan | None]]:
    """Return what plans each removal, to plan it again from another state of the image."""
    return [
        trash,
        for_good,
        lambda seen: plan_purge(seen, HERE, is_expired=True),
        *(partial(plan_snapshot_removal, name=each.name, uses=(), host_uuid=HERE) for each in known.snapshots),
    ]


def end_of(plan: RemovalPlan, known: ImageDetails) -> ImageDetails | None:
    assert plan.standing(clear=True, allowed=ALL) == ()
    seen: ImageDetails | None = known
    for action in plan.steps:
        assert seen is not None, "nothing follows the end of the image"
        seen = simulate_removal(action, seen)
    return seen


@given(details())
def test_a_removal_that_a_kill_ends_anywhere_is_finished_by_the_next(known: ImageDetails) -> None:
    known = replace(known, image=IMAGE, mirroring=False, group="")
    for make in makers(known):
        plan, seen = make(known), known
        if plan is None or plan.standing(clear=True, allowed=ALL):
            continue
        end = end_of(plan, known)
        assert end is None or make(end) is None, "it is gone"
        for action in plan.steps:
            for left in cut_off_removals(action, seen):
                again = make(left)
                assert again is not None
                assert end_of(again, left) == end
            after = simulate_removal(action, seen)
            seen = after or seen


@given(details(), uses)
def test_the_engine_asks_for_each_hazard_that_the_plan_names(
    known: ImageDetails, in_use: tuple[DomainUse, ...] | None
) -> None:
    for plan in all_plans(known, in_use):
        asked = {hazard for step in plan.steps for hazard in step.hazards}
        assert asked == {each.hazard for each in plan.blockers if each.hazard}


@given(details(), uses, st.booleans(), st.frozensets(st.sampled_from(Hazard)))
def test_a_client_more_never_makes_a_removal_easier(
    known: ImageDetails, in_use: tuple[DomainUse, ...] | None, clear: bool, allowed: frozenset[Hazard]
) -> None:
    more = replace(WATCHER, client_id=99)
    watched = replace(known, image=replace(known.image, watchers=(*known.image.watchers, more)))
    for before, after in zip(all_plans(known, in_use), all_plans(watched, in_use), strict=True):
        assert len(after.blockers) >= len(before.blockers)
        assert len(after.standing(clear=clear, allowed=allowed)) >= len(before.standing(clear=clear, allowed=allowed))


@given(details(), uses)
def test_nobody_s_image_is_removed_under_a_client_or_a_managed_save(
    known: ImageDetails, in_use: tuple[DomainUse, ...] | None
) -> None:
    is_used = known.image.watchers or any(each.state is not PowerState.SHUT_OFF for each in in_use or ())
    for plan in (trash(known, in_use), for_good(known, in_use)):
        assert plan.standing(clear=True, allowed=ALL) or not is_used


@given(details(), uses, st.frozensets(st.sampled_from(Hazard)))
def test_a_flag_more_only_takes_away_what_it_names(
    known: ImageDetails, in_use: tuple[DomainUse, ...] | None, allowed: frozenset[Hazard]
) -> None:
    for plan in all_plans(known, in_use):
        everything = plan.standing(clear=False, allowed=frozenset())
        assert everything == plan.blockers
        gone = set(everything) - set(plan.standing(clear=False, allowed=allowed))
        assert {each.hazard for each in gone} <= set(allowed)


def test_the_subject_is_what_was_named() -> None:
    assert trash(details_of()).subject == REF
    plan = plan_snapshot_removal(details_of(snapshot("s1")), "s1", (), HERE)
    assert plan is not None
    assert str(plan.subject) == "vms/web.vda@s1"
