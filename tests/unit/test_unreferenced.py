"""Which images nothing here uses: what is told, and what is left alone."""

import pytest
from hypothesis import given
from support.image_details import CHILD, HERE, IMAGE, REF, THERE, WATCHER, details, details_of, snapshot, use_of

from virtrbd.model.image import Image, ImageMark, ImageRef, Obstacle
from virtrbd.model.image_details import ImageDetails, ListedImage, SnapshotKind, Usage
from virtrbd.model.image_state import state_from
from virtrbd.model.image_use import DomainUse, Unread
from virtrbd.model.power import PowerState
from virtrbd.model.record import replace
from virtrbd.planning.unreferenced import Verdict, candidates, judge, judge_trashed

USAGE = Usage(ref=REF, size_bytes=100, used_bytes=10, by_snapshot={"s1": 5})


def listed(name: str, parent: str = "") -> ListedImage:
    return ListedImage(
        ref=ImageRef.parse(f"vms/{name}"), image_id=name, size_bytes=1, object_bytes=4096, features=(), created_at=0,
        parent=ImageRef.parse(parent) if parent else None,
    )  # fmt: skip


def test_an_image_that_a_domain_names_is_no_candidate_running_or_not() -> None:
    mine, other = listed("web.vda"), listed("old")
    for state in (PowerState.RUNNING, PowerState.SHUT_OFF, PowerState.SAVED):
        assert candidates([mine, other], [use_of(state)]) == (other,)


def test_an_image_that_others_grow_from_is_no_candidate() -> None:
    base, clone = listed("base"), listed("clone", parent="vms/base@v1")
    assert candidates([base, clone], []) == (clone,)


def test_nobody_s_image_is_unreferenced_with_what_its_removal_frees() -> None:
    found = judge(details_of(usage=USAGE), HERE)
    assert found is not None
    assert (found.verdict, found.reclaimable_bytes, found.host) == (Verdict.UNREFERENCED, 15, "")


@pytest.mark.parametrize(
    ("known", "verdict"),
    [
        (details_of(group="vms/g"), Verdict.GROUPED),
        (details_of(mirroring=True), Verdict.MIRRORED),
        (details_of(image=replace(IMAGE, obstacles=(Obstacle(text="held", way_out="ask"),))), Verdict.LOCKED),
        (details_of(image=replace(IMAGE, features=("layering", "migrating"))), Verdict.MIGRATING),
    ],
)
def test_what_rbd_itself_holds_is_told(known: ImageDetails, verdict: Verdict) -> None:
    found = judge(known, HERE)
    assert found is not None
    assert found.verdict is verdict


def test_without_fast_diff_nobody_can_tell_what_it_frees() -> None:
    found = judge(details_of(), HERE)
    assert found is not None
    assert found.reclaimable_bytes is None


@pytest.mark.parametrize(
    "known",
    [
        details_of(image=replace(IMAGE, watchers=(WATCHER,))),
        details_of(snapshot("s1", SnapshotKind.USER, CHILD)),
        details_of(snapshot("s1", SnapshotKind.TRASH, CHILD)),
    ],
)
def test_an_image_that_is_open_or_has_clones_is_used(known: ImageDetails) -> None:
    assert judge(known, HERE) is None


@pytest.mark.parametrize(
    ("image", "host"),
    [
        (replace(IMAGE, mark=ImageMark(domain_uuid="u", image_id="1", host=THERE)), THERE),
        (replace(IMAGE, running_on=THERE), THERE),
    ],
)
def test_a_shut_off_domain_of_another_host_is_that_host_s_to_judge(image: Image, host: str) -> None:
    found = judge(details_of(image=image), HERE)
    assert found is not None
    assert (found.verdict, found.host) == (Verdict.ELSEWHERE, host)


def test_an_image_that_is_not_ready_is_half_made() -> None:
    found = judge(details_of(image=replace(IMAGE, state=state_from("importing 1"))), HERE)
    assert found is not None
    assert found.verdict is Verdict.HALF


def test_what_clones_need_of_the_trash_is_not_freed_by_a_purge() -> None:
    assert judge_trashed(details_of(usage=USAGE), 5.0).reclaimable_bytes == 15
    held = judge_trashed(details_of(snapshot("s1", SnapshotKind.USER, CHILD), usage=USAGE), 5.0)
    assert (held.verdict, held.reclaimable_bytes, held.expires_at) == (Verdict.TRASHED, 0, 5.0)


@given(details())
def test_what_another_host_may_need_is_never_called_unreferenced(known: ImageDetails) -> None:
    found = judge(known, HERE)
    if found and found.verdict is Verdict.UNREFERENCED:
        assert known.image.mark is None or known.image.mark.host == HERE
        assert known.image.running_on in ("", HERE)
        assert not known.image.watchers
        assert not known.children


def test_an_image_that_is_named_in_a_text_that_cannot_be_read_is_no_candidate() -> None:
    odd = DomainUse(
        name="odd",
        uuid="o",
        state=PowerState.SHUT_OFF,
        unread=(Unread(what="its XML", text="<disk name='vms/web.vda'"),),
    )
    assert candidates([listed("web.vda"), listed("old")], [odd]) == (listed("old"),)
