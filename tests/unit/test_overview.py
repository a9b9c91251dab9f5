"""What a report says of a plan and of images."""

from hypothesis import given
from support.families import HERE, families, families_of, image_of, snapshot_of
from support.overviews import DAY, NOW, use_by

from virtrbd.errors import ExitCode
from virtrbd.model.domain_actions import StartDomain
from virtrbd.model.failure import Failure
from virtrbd.model.family import Families
from virtrbd.model.hazard import Hazard
from virtrbd.model.image import ImageMark
from virtrbd.model.image_use import Unread
from virtrbd.model.plan import DomainPlan, Finding, FindingKind, Plan
from virtrbd.model.record import replace
from virtrbd.planning.image_tree import make_tree
from virtrbd.planning.overview import needs_of, storage_of
from virtrbd.planning.tree_drawing import draw


def test_what_failed_comes_first_and_what_the_next_run_does_last() -> None:
    plan = Plan(
        domains=(
            DomainPlan(
                name="a",
                actions=(StartDomain(domain_uuid="u"),),
                findings=(Finding(domain="a", kind=FindingKind.PENDING, text="memory"),),
            ),
            DomainPlan(name="b", problems=("no such pool",), held_back=("is held",)),
            DomainPlan(name="c", failures=(Failure(text="is odd", exit_code=ExitCode.FAILED),)),
        ),
        stopped="too many would change",
    )
    assert [(need.domain, need.kind) for need in needs_of(plan)] == [
        ("b", "failed"), ("c", "failed"), ("", "blocked"), ("b", "blocked"), ("a", "pending restart"),
        ("a", "next run"),
    ]  # fmt: skip


def test_an_action_with_a_hazard_is_blocked_with_its_flag() -> None:
    action = StartDomain(domain_uuid="u", elsewhere="kvm-2", hazards=(Hazard.TAKES_OVER,))
    [need] = needs_of(Plan(domains=(DomainPlan(name="a", actions=(action,)),)))
    assert (need.kind, need.text) == ("blocked", f"{action.text}: needs --allow takes-over")


def names(found: Families, *users: str, host: str = HERE) -> list[str]:
    uses = [use_by(f"d{at}", user) for at, user in enumerate(users)]
    storage = storage_of(found, uses, host, NOW)
    assert storage.unused is not None
    return [image.ref.name for image in storage.unused.images]


def test_unused_is_what_no_domain_clone_or_host_needs() -> None:
    theirs = ImageMark(domain_uuid="", image_id="theirs", host="there")
    found = families_of(
        image_of("base", snapshots=(snapshot_of(1, "web"),)), image_of("web", "base"), image_of("free"),
        image_of("theirs", mark=theirs), image_of("trashed", expires_at=1.0),
        image_of("odd", failure=Failure(text="is odd", exit_code=ExitCode.FAILED)), image_of("beside", is_listed=False),
    )  # fmt: skip
    assert names(found, "web") == ["free"]
    assert names(found) == ["free", "web"]
    assert storage_of(found, None, HERE, NOW).unused is None


def test_a_domain_that_cannot_be_read_may_use_any_image() -> None:
    blind = replace(use_by("d", "x"), unread=(Unread(what="everything"),))
    storage = storage_of(families_of(image_of("free")), [blind], HERE, NOW)
    assert storage.unused is not None
    assert storage.unused.images == ()


def test_snapshots_are_counted_by_age() -> None:
    ages = (-5, 0, 0.5, 2, 29, 31, 400)
    snapshots = tuple(snapshot_of(at + 1, created_at=NOW - age * DAY, used_bytes=1) for at, age in enumerate(ages))
    storage = storage_of(
        families_of(image_of("a", snapshots=(*snapshots, snapshot_of(9, created_at=NOW)))), (), HERE, NOW
    )
    assert [(age.count, age.used_bytes, age.unknown) for age in storage.ages] == [
        (4, 3, 1), (1, 1, 0), (1, 1, 0), (1, 1, 0), (0, 0, 0), (1, 1, 0),
    ]  # fmt: skip
    assert storage.oldest[0].snapshot.snapshot_id == 7


@given(families())
def test_any_families_are_reported_and_drawn(found: Families) -> None:
    storage = storage_of(found, (), HERE, NOW)
    assert storage.image_count == len(found.images)
    rows = draw(make_tree(found, ()), frozenset())
    assert len(rows) <= 202
    for row in rows:
        assert 0 <= row.depth <= 14
        assert all(0 < depth <= 14 for depth in row.passing)
