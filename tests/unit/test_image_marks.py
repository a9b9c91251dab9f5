"""Marks on images as any client of the pool may write them: read within bounds, and only what is said of this image."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import EMPTY, HERE, HOST_UUID, MIB, WEB, done

from virtrbd.ceph.metadata import (
    OWNER,
    RUNNING,
    SEED,
    STATE,
    copied_state_of,
    inherited,
    mark_of,
    owner_value,
    running_on,
    seed_of,
    state_of,
    state_value,
)
from virtrbd.ceph.texts import as_bytes, as_text
from virtrbd.errors import ClusterError
from virtrbd.model.failure import Failure
from virtrbd.model.hazard import Hazard
from virtrbd.model.image import Image, ImageMark, ImageRef, Intent
from virtrbd.model.image_actions import FinishRollback, MarkImage, RemoveHalfImage
from virtrbd.model.image_state import Filling, RollingBack, state_from
from virtrbd.model.record import replace
from virtrbd.planning.interrupted import is_half
from virtrbd.planning.plan import make_plan
from virtrbd.planning.unready import not_ready_message
from virtrbd.planning.world import World

ID = "abc123"
DISK = WEB.disks[0].image
ODD = (
    "[" * 100_000, '{"a":' * 3_000 + "1" + "}" * 3_000, "[" * 5_000_000, '"text"', "null", "[]", "1" * 5_000, "NaN", "",
    '{"domain":"\ud800","image":"abc123","host":"h"}', '{"domain":["a"],"image":"abc123","host":"h"}',
    '{"domain":"d","image":["abc123"],"host":"h"}', '{"image":"abc123"}',
    '{"domain":NaN,"image":"abc123","host":1e999}',
    "\udcff\x1b[31m", '{"domain":"d","image":"abc123","host":"h"', "x" * 5_000_000,
)  # fmt: skip


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
def test_an_odd_mark_is_none(text: str) -> None:
    metadata = dict.fromkeys((OWNER, RUNNING, SEED), text)
    assert mark_of(metadata, ID) is None
    assert (running_on(metadata, ID), seed_of(metadata, ID)) in (("", ""), ("h", "")), "a host may be said in it"
    assert set(inherited(metadata, ID)) <= {OWNER, RUNNING, SEED}


@given(st.text() | st.binary(max_size=200).map(as_text) | st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["domain", "image", "host"]), inner),
).map(json.dumps))  # fmt: skip
def test_whatever_a_mark_says_reading_it_ends_well(text: str) -> None:
    metadata = dict.fromkeys((OWNER, RUNNING, SEED, STATE), text)
    mark = mark_of(metadata, ID)
    assert mark is None or all(isinstance(word, str) for word in (mark.domain_uuid, mark.host, mark.host_name))
    assert isinstance(running_on(metadata, ID) + seed_of(metadata, ID) + str(state_of(metadata, ID)), str)


def test_a_mark_that_virtrbd_wrote_is_read_as_it_was_written() -> None:
    mark = ImageMark(domain_uuid=WEB.uuid, image_id=ID, host=HOST_UUID, host_name="Höst [1] {a}")
    assert mark_of({OWNER: owner_value(mark)}, ID) == mark


def test_the_name_of_a_host_makes_no_mark_another() -> None:
    mark = ImageMark(domain_uuid=WEB.uuid, image_id=ID, host=HOST_UUID)
    named = replace(mark, host_name="kvm-1")
    moved = replace(mark, host="another")
    image = Image(ref=DISK, image_id=ID, size_bytes=MIB, created_at=0, mark=mark)
    for one, other, is_same in ((mark, named, True), (mark, moved, False)):
        for a, b in ((one, other), (image, replace(image, mark=other))):
            assert (a == b, a != b, hash(a.mark if isinstance(a, Image) else a) == hash(other)) == (
                is_same,
                not is_same,
                is_same,
            )


@pytest.mark.parametrize("state", ["importing 0123", "rolling back to before", "rolling back to s\udcff"])
def test_a_state_counts_for_its_own_image_alone(state: str) -> None:
    metadata = {STATE: state_value(state, ID)}
    assert state_of(metadata, ID) == state_from(state)
    assert str(state_from(state)) == state
    assert state_of(metadata, "another") is None
    assert (copied_state_of(metadata, ID), copied_state_of(metadata, "another")) == ("", state)
    assert (inherited(metadata, ID), inherited(metadata, "another")) == ((), (STATE,))


@pytest.mark.parametrize(
    "text", ["importing 0123", "rolling back to s", '{"state": 1, "image": "abc123"}', "[" * 9_000]
)
def test_a_state_that_is_no_mark_keeps_its_image_from_being_used(text: str) -> None:
    assert state_of({STATE: text}, ID)
    assert len(str(state_of({STATE: text}, ID))) < 300


@given(st.binary())
def test_a_name_comes_back_as_the_bytes_that_it_was(raw: bytes) -> None:
    if b"\0" in raw:
        with pytest.raises(ClusterError):
            as_bytes(as_text(raw))
    else:
        assert as_bytes(as_text(raw)) == raw


def test_a_name_that_crashes_the_bindings_never_reaches_them() -> None:
    with pytest.raises(ClusterError, match="refuses this name"):
        as_bytes("x\ud800")


def _world(**image: Any) -> World:
    world = done([WEB], EMPTY)
    held = world.images[DISK]
    assert held is not None
    return replace(world, images={**world.images, DISK: replace(held, **image)})


def _actions(world: World) -> tuple[object, ...]:
    [plan] = make_plan([WEB], world, HERE).domains
    return plan.actions


ROLLING = {"state": RollingBack("s"), "snapshots": ("s",)}


def test_a_rollback_that_this_host_began_is_finished() -> None:
    world = replace(_world(**ROLLING), rollbacks={DISK: "s"})
    assert _actions(world) == (FinishRollback(ref=replace(DISK, snapshot="s")),)


@pytest.mark.parametrize("begun", [{}, {DISK: "another"}, {ImageRef(pool="vms", name="other"): "s"}])
def test_a_rollback_that_only_a_mark_asks_for_is_not_done_without_leave(begun: dict[ImageRef, str]) -> None:
    [action] = _actions(replace(_world(**ROLLING), rollbacks=begun))
    assert isinstance(action, FinishRollback)
    assert action.hazards == (Hazard.LOSES_DATA,)
    assert "rbd image-meta remove vms/web.vda virtrbd.state" in action.text


def test_a_rollback_to_no_snapshot_is_a_problem_whose_way_out_drops_the_mark() -> None:
    [plan] = make_plan([WEB], _world(state=RollingBack("gone")), HERE).domains
    assert plan.actions == ()
    [problem] = plan.problems
    assert "is not ready: rolling back to gone; wait until that ends, or run it again; where its mark" in problem
    assert "rbd image-meta remove vms/web.vda virtrbd.state" in problem


@pytest.mark.parametrize("state", ["rolling back to s", "importing 0123", "copying 0123", "nonsense", "importingx"])
@pytest.mark.parametrize("is_marked", [False, True])
def test_only_an_image_that_was_never_whole_is_to_be_removed(state: str, is_marked: bool) -> None:
    mark = ImageMark(domain_uuid=WEB.uuid, image_id=ID, host=HOST_UUID)
    image = Image(
        ref=DISK, image_id=ID, size_bytes=MIB, created_at=0, state=state_from(state), mark=mark if is_marked else None
    )
    is_unfilled = not is_marked and state.split(" ")[0] in ("importing", "copying")
    said = not_ready_message(image)
    assert ("or remove the image" in said) is is_unfilled
    assert said.endswith("drop that: rbd image-meta remove vms/web.vda virtrbd.state")


def test_a_mark_that_nothing_here_knows_of_is_no_proof() -> None:
    world = done([WEB], EMPTY)
    assert _actions(world) == ()
    [action] = _actions(replace(world, unknown_marks=frozenset({DISK})))
    assert isinstance(action, MarkImage)
    assert action.hazards == (Hazard.TAKES_OVER,)
    assert "this host has no record of making it" in action.text


def test_a_state_written_on_an_image_that_is_marked_removes_nothing() -> None:
    intent = Intent(
        ref=DISK, domain_uuid=WEB.uuid, size_bytes=MIB, parent=None, nonce="d" * 32, written_at=0, importing=True
    )
    half = Image(ref=DISK, image_id=ID, size_bytes=MIB, created_at=0, state=Filling("importing", intent.nonce))
    mark = ImageMark(domain_uuid=WEB.uuid, image_id=ID, host=HOST_UUID)
    assert is_half(half, intent)
    assert not is_half(replace(half, mark=mark), intent)
    world = _world(state=Filling("importing", intent.nonce))
    assert not any(isinstance(action, RemoveHalfImage) for action in _actions(replace(world, intents={DISK: intent})))


@pytest.mark.parametrize("of", ["parent", "cdrom"])
def test_what_a_domain_only_reads_and_cannot_be_read_fails_it_too(of: str) -> None:
    from virtrbd.model.disk import Bus, Cdrom

    iso = ImageRef(pool="golden", name="iso")
    domain = replace(WEB, cdroms=(Cdrom(target="sdb", bus=Bus.SATA, image=iso),))
    unread = WEB.disks[0].clone if of == "parent" else iso
    assert unread is not None
    why = Failure(text="cannot be read", exit_code=ClusterError.exit_code)
    [plan] = make_plan([domain], replace(EMPTY, unread_images={unread: why}), HERE).domains
    assert (plan.failures, plan.actions) == ((why,), ())
