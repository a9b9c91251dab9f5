"""The planner's laws of a crash: wherever a run was cut off, the next one finishes the work, or brings other about."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.interrupted import interrupted
from support.laws import actions_of, cases, laws, policies, problems
from support.simulate import simulate
from support.strategies import BY_SPEC, EMPTY, MIB, WEB, changed_domain, domains, done, started

from virtrbd.domainxml.defined import DefinedDomain
from virtrbd.domainxml.document import LiveDocument
from virtrbd.model.domain import Domain
from virtrbd.model.hazard import Hazard
from virtrbd.model.image_actions import NoteHost
from virtrbd.model.live_actions import MarkLive, SetMemory
from virtrbd.model.plan import FindingKind, Plan
from virtrbd.model.record import replace
from virtrbd.planning.plan import make_plan
from virtrbd.planning.policy import Policy
from virtrbd.planning.world import World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.usefixtures("rendered_once")]


@laws
@given(case=cases(), policy=policies, data=st.data())
def test_a_crash_at_any_point_is_finished_by_the_next_run(
    case: tuple[tuple[Domain, ...], World], policy: Policy, data: st.DataObject
) -> None:
    fleet, before = case
    plan = make_plan(fleet, before, policy)
    world = data.draw(crashes(plan, before), label="the crash leaves")
    again = make_plan(fleet, world, policy)
    assert hazards(again) <= hazards(plan), "what the crash left must not need more leave than the work did"
    assert summary(done(fleet, world, policy)) == summary(done(fleet, before, policy))
    assert actions_of(make_plan(fleet, done(fleet, world, policy), policy)) == []


@laws
@given(case=cases(), policy=policies, data=st.data())
def test_a_crash_is_no_hindrance_to_another_spec(
    case: tuple[tuple[Domain, ...], World], policy: Policy, data: st.DataObject
) -> None:
    """Somebody wrote another spec before the next run: it is brought about as if there had been no crash."""
    fleet, before = case
    world = data.draw(crashes(make_plan(fleet, before, policy), before), label="the crash leaves")
    newer = tuple(data.draw(newer_of(domain), label="now wanted") for domain in fleet)
    after, whole = done(newer, world, policy), done(newer, done(fleet, before, policy), policy)
    left, wanted = make_plan(newer, after, policy), make_plan(newer, whole, policy)
    assert actions_of(left) == []
    # By name: how far an image was grown is history.
    assert {name for name, _ in problems(left)} <= {name for name, _ in problems(wanted)}
    assert foreign(left) <= foreign(wanted), "what the cut run defined is nobody else's"
    for ref, image in world.images.items():
        kept = after.images[ref]
        is_half = ref in world.intents and world.intents[ref].importing
        assert image is None or is_half or (kept and kept.image_id == image.image_id), "an image is never made anew"


def test_a_guest_is_asked_for_memory_after_a_crash_and_once() -> None:
    """The definition says less memory already, and nobody told the guest; once told, a deaf one is not asked again."""
    running = changed_domain(done([WEB], EMPTY), WEB.uuid, started)
    less = [replace(WEB, current_memory_bytes=128 * MIB, digest="less")]
    defined, *rest = actions_of(make_plan(less, running, BY_SPEC))
    crashed = simulate(defined, running)
    again = actions_of(make_plan(less, crashed, BY_SPEC))
    assert [type(action) for action in again] == [type(action) for action in rest] == [SetMemory, MarkLive, NoteHost]
    told = done(less, crashed, BY_SPEC)
    some, full = (f"<currentMemory>{size // 1024}</currentMemory>" for size in (128 * MIB, 256 * MIB))

    def unheard(found: DefinedDomain) -> DefinedDomain:
        assert found.live is not None
        return replace(found, live=LiveDocument(found.live.text.replace(some, full)))

    deaf = changed_domain(told, WEB.uuid, unheard)
    assert deaf != told
    plan = make_plan(less, deaf, BY_SPEC)
    assert actions_of(plan) == []
    assert FindingKind.ASKED in {finding.kind for domain in plan.domains for finding in domain.findings}


@st.composite
def crashes(draw: st.DrawFn, plan: Plan, world: World) -> World:
    """A world that a run of the plan leaves when it is killed."""
    steps = actions_of(plan)
    cut = draw(st.integers(0, len(steps)))
    for action in steps[:cut]:
        world = simulate(action, world)
    return draw(st.sampled_from(list(interrupted(steps[cut], world)))) if cut < len(steps) else world


def newer_of(domain: Domain) -> st.SearchStrategy[Domain]:
    return domains(domain.name).map(lambda newer: replace(newer, uuid=domain.uuid))


def foreign(plan: Plan) -> set[tuple[str, str]]:
    """What others changed in definitions. What a cut run attached to a guest and did not mark is told until its next
    boot, where another spec has it no more."""
    findings = [each for domain in plan.domains for each in domain.findings if each.kind is FindingKind.FOREIGN]
    return {(each.domain, each.subject) for each in findings if not each.subject.startswith("live/")}


def hazards(plan: Plan) -> set[tuple[str, Hazard]]:
    return {(domain.name, hazard) for domain in plan.domains for a in domain.actions for hazard in a.hazards}


def summary(actual: World) -> dict[str, object]:
    """All that may not depend on how often a run was cut off."""
    images = {
        str(ref): image
        and (image.size_bytes, image.parent, image.state, image.mark and image.mark.domain_uuid, image.seed)
        for ref, image in actual.images.items()
    }
    return {
        **images,
        **{found.name: (found.definition, found.live, found.state, found.autostart) for found in actual.domains},
        "secrets": actual.secrets,
        "intents": actual.intents,
    }
