"""What the parts of an image that a crash left add up to, and what mends it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtrbd.model.hazard import Hazard
from virtrbd.model.image import Image, ImageRef, Intent, Watcher
from virtrbd.model.image_parts import ImageParts, ImageTroubles, Lock, LostClone, TrashState
from virtrbd.model.record import replace
from virtrbd.model.repair_actions import (
    BreakLock,
    DropIdObject,
    DropTrashEntry,
    ForgetClone,
    ForgetIntent,
    ForgetParent,
    ListImage,
    NoteClone,
    RebuildObjectMap,
    RemoveHalf,
    RemoveRemains,
    SettleTrash,
    UnlistImage,
    WriteIdObject,
)
from virtrbd.planning.image_shape import Shape, shape_of
from virtrbd.planning.interrupted import ImageOrigin, is_half_made
from virtrbd.planning.repair import (
    RepairPlan,
    is_perhaps_under_way,
    plan_intent,
    plan_name,
    plan_stuck,
    plan_troubles,
)

REF = ImageRef(pool="vms", name="web")
ID = "103a5f00d5f0"
WHOLE = ImageParts(
    ref=REF, id_object=ID, noted_at=1000.0, listed_id=ID, listed_name="web", is_known_by_it=True, has_header=True
)
IMAGE = Image(ref=REF, image_id=ID, size_bytes=8 * 1024**2, created_at=1000.0)


def without(parts: ImageParts, *missing: str) -> ImageParts:
    """The parts without some of what librbd writes: `id`, `entry`, `header`."""
    gone: dict[str, dict[str, Any]] = {
        "id": {"id_object": None, "is_known_by_it": False},
        "entry": {"listed_id": "", "listed_name": "", "is_known_by_it": False},
        "header": {"has_header": False},
    }
    for each in missing:
        parts = replace(parts, **gone[each])
    return parts


def in_trash(parts: ImageParts, state: TrashState) -> ImageParts:
    return replace(parts, trash=state)


# Each state that a kill between two of librbd's writes leaves, in the order of Ceph 16, and the steps that mend it.
CUT_OFF = {
    "a create, after the entry": (without(WHOLE, "id", "header"), [RemoveRemains]),
    "a create, after the id object": (without(WHOLE, "header"), [RemoveRemains]),
    "a create, after the header": (WHOLE, []),
    "an old removal, after the entry": (without(WHOLE, "entry", "header"), [RemoveRemains]),
    "an old removal, after the id object": (without(WHOLE, "id"), [WriteIdObject]),
    "a repair, after the header was barred": (replace(without(WHOLE, "header"), is_blank=True), [RemoveRemains]),
    "a move, after the trash's entry": (in_trash(WHOLE, TrashState.MOVING), [DropTrashEntry]),
    "a move, after the id object": (in_trash(without(WHOLE, "id"), TrashState.MOVING), [UnlistImage, SettleTrash]),
    "a restore, after the id object": (
        in_trash(without(WHOLE, "entry"), TrashState.RESTORING), [ListImage, DropTrashEntry]
    ),
    "a restore, after the entry": (in_trash(WHOLE, TrashState.RESTORING), [DropTrashEntry]),
    "a rename, after its id object": (
        replace(WHOLE, listed_id="", listed_name="old", is_known_by_it=True), [DropIdObject]
    ),
    "an entry lost": (without(WHOLE, "entry"), [ListImage]),
    "another name in the list, which leads nowhere": (
        replace(WHOLE, listed_id="", listed_name="old", is_known_by_it=False), [UnlistImage, ListImage]
    ),
    "a parent lost": (replace(WHOLE, lost_parent="golden/(id 1)"), [ForgetParent]),
}  # fmt: skip


@pytest.mark.parametrize(("parts", "steps"), CUT_OFF.values(), ids=CUT_OFF)
def test_what_a_kill_between_two_writes_left_is_mended(parts: ImageParts, steps: list[type]) -> None:
    plan = plan_name(parts)
    assert [type(step) for step in plan.steps] == steps
    assert bool(plan.found) == bool(steps)
    assert not plan.problem


def test_what_is_stuck_in_the_trash_is_let_go_also_where_another_image_has_the_name_by_now() -> None:
    stuck = {"10ff": TrashState.MOVING, "10fe": TrashState.RESTORING}
    steps = plan_stuck(replace(WHOLE, stuck=stuck)).steps
    assert [(type(step), step.image_id) for step in steps] == [(SettleTrash, "10fe"), (SettleTrash, "10ff")]
    assert not plan_stuck(WHOLE).steps


PARTS = st.builds(
    ImageParts,
    ref=st.just(REF),
    id_object=st.sampled_from([None, "", ID, "another"]),
    listed_id=st.sampled_from(["", ID, "another"]),
    listed_name=st.sampled_from(["", "web", "old"]),
    is_known_by_it=st.booleans(),
    has_header=st.booleans(),
    is_blank=st.booleans(),
    trash=st.sampled_from([None, *TrashState]),
    data_objects=st.integers(0, 3),
    lost_parent=st.sampled_from(["", "golden/(id 1)"]),
)


def mended(parts: ImageParts) -> ImageParts:
    """The parts once the plan's steps are done: what each does, as the lab shows it."""
    for step in plan_name(parts).steps:
        match step:
            case RemoveRemains():
                parts = ImageParts(ref=REF)
            case WriteIdObject():
                parts = replace(parts, id_object=step.image_id, is_known_by_it=True)
            case DropIdObject():
                parts = ImageParts(ref=REF)
            case ListImage():
                parts = replace(parts, listed_id=step.image_id, listed_name=step.ref.name)
            case UnlistImage():
                parts = replace(parts, listed_id="", listed_name="")
            case DropTrashEntry():
                parts = replace(parts, trash=None)
            case SettleTrash():
                parts = replace(parts, trash=TrashState.NORMAL)
            case ForgetParent():
                parts = replace(parts, lost_parent="")
            case _:
                raise AssertionError(step)
    return parts


@given(PARTS)
def test_a_repair_leaves_a_whole_image_or_none_and_removes_none_that_has_a_header(parts: ImageParts) -> None:
    plan = plan_name(parts)
    if shape_of(parts) is Shape.UNCLEAR:
        assert plan.problem
        assert not plan.steps, "of two images neither is taken for the other"
        return
    assert not (parts.has_header and any(isinstance(step, RemoveRemains) for step in plan.steps))
    after = mended(parts)
    # A lost parent shows once the name is in order.
    after = mended(after) if shape_of(after) is Shape.ORPHANED else after
    assert shape_of(after) in (Shape.WHOLE, Shape.ABSENT)
    assert not plan_name(after).steps


@given(PARTS)
def test_data_is_removed_only_where_that_is_allowed(parts: ImageParts) -> None:
    plan = plan_name(parts)
    removes_data = any(isinstance(step, RemoveRemains) and step.data_objects for step in plan.steps)
    loses = removes_data or any(isinstance(step, ForgetParent) for step in plan.steps)
    assert (plan.missing_hazards(frozenset()) == (Hazard.LOSES_DATA,)) == loses
    assert not plan.missing_hazards(frozenset({Hazard.LOSES_DATA}))


def test_what_may_be_under_way_is_looked_at_twice_and_what_cannot_be_is_not() -> None:
    assert is_perhaps_under_way(plan_name(without(WHOLE, "header")))
    assert not is_perhaps_under_way(plan_name(without(WHOLE, "id")))
    assert not is_perhaps_under_way(RepairPlan(subject=REF))


def test_an_image_that_opens_is_mended_where_something_is_wrong_with_it() -> None:
    clone = LostClone(where=ImageRef(pool="vms", name=""), image_id="10ff", parent_snapshot_id=4)
    parent = ImageRef(pool="golden", name="debian", snapshot="v1")
    gone, here = (Lock(client=f"client.{number}", cookie="c", address="192.0.2.1:0") for number in (1, 2))
    troubles = ImageTroubles(
        bad_maps=("", "s1"),
        locks=(gone, here, replace(gone, is_exclusive=True)),
        lost_clones=(clone,),
        unlisted_in=parent,
    )
    plan = plan_troubles(replace(IMAGE, watchers=(Watcher(address="192.0.2.1:0", client_id=2),)), troubles)
    kinds = [BreakLock, BreakLock, RebuildObjectMap, RebuildObjectMap, ForgetClone, NoteClone]
    assert [type(step) for step in plan.steps] == kinds
    assert [str(step.ref) for step in plan.steps if isinstance(step, RebuildObjectMap)] == ["vms/web", "vms/web@s1"]
    assert here not in [step.lock for step in plan.steps if isinstance(step, BreakLock)], "its holder has it open"
    assert plan.missing_hazards(frozenset()) == (Hazard.TAKES_OVER,)
    assert plan_troubles(IMAGE, ImageTroubles()) == RepairPlan(subject=REF)


INTENT = Intent(
    ref=REF, domain_uuid="", size_bytes=8 * 1024**2, parent=None, nonce="d" * 32, written_at=1000.0, client_id=0x103A
)


@pytest.mark.parametrize(
    ("image", "origin", "step"),
    [
        (None, None, ForgetIntent),
        (IMAGE, ImageOrigin.HALF, RemoveHalf),
        (IMAGE, ImageOrigin.FOREIGN, ForgetIntent),
    ],
)
def test_an_intent_that_was_left_is_ended(image: Image | None, origin: ImageOrigin | None, step: type) -> None:
    assert [type(each) for each in plan_intent(REF, image, INTENT, origin).steps] == [step]
    assert not plan_intent(REF, image, None, None).steps


def test_an_import_of_which_nobody_can_tell_whether_it_is_whole_keeps_its_intent() -> None:
    plan = plan_intent(REF, IMAGE, replace(INTENT, importing=True), ImageOrigin.FOREIGN)
    assert (plan.steps, "virtrbd image remove vms/web" in plan.problem) == ((), True)
    known = replace(IMAGE, allocated_bytes=4 * 1024**2)
    assert [type(step) for step in plan_intent(REF, known, INTENT, ImageOrigin.FOREIGN).steps] == [ForgetIntent]


def test_an_image_is_half_made_by_a_run_of_ours_where_its_id_says_so() -> None:
    half = without(WHOLE, "header")
    assert is_half_made(half, INTENT)
    assert is_half_made(without(half, "id"), INTENT)
    assert not is_half_made(WHOLE, INTENT), "it has a header"
    of_another = replace(half, id_object="103b5f00d5f0", listed_id="103b5f00d5f0")
    assert is_half_made(of_another, INTENT), "it came after the intent"
    assert not is_half_made(replace(of_another, noted_at=900.0), INTENT), "it existed before"
    # Of an earlier version: only its time says so.
    old = replace(INTENT, client_id=0)
    assert is_half_made(half, old)
    assert not is_half_made(replace(half, noted_at=900.0), old)


@given(client_id=st.integers(1, 2**40), random=st.integers(0, 2**32 - 1))
def test_an_id_of_the_client_is_known_also_where_it_was_cut(client_id: int, random: int) -> None:
    image_id = f"{client_id:x}{random:x}"[-14:]
    assert replace(INTENT, client_id=client_id).made_id(image_id)


def test_an_id_of_another_client_is_not_ours() -> None:
    assert not INTENT.made_id("103b8d0f8e0b")
    assert not INTENT.made_id("")
    assert not replace(INTENT, client_id=0x11D7).made_id("11d7a12345678"), "that of client 0x11d7a"
    assert not replace(INTENT, client_id=0).made_id("08d0f8e0b")
