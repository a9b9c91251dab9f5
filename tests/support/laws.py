"""What the planner's laws are stated with: any desired domains, any world, and what a plan says of them."""

from collections.abc import Sequence

from hypothesis import settings
from hypothesis import strategies as st
from support.strategies import BY_SPEC, HERE, HOST, STARTING, fleets, worlds

from virtrbd.model.actions import Action
from virtrbd.model.domain import Domain
from virtrbd.model.mark import DomainMark
from virtrbd.model.plan import Plan
from virtrbd.planning.world import World

laws = settings.get_profile("laws")
policies = st.sampled_from([HERE, STARTING, BY_SPEC])


@st.composite
def cases(draw: st.DrawFn, hosts: Sequence[str] = (HOST,)) -> tuple[tuple[Domain, ...], World]:
    """Desired domains and a world to bring them into."""
    fleet = draw(fleets(hosts))
    return fleet, draw(worlds(fleet))


def mark_of(domain: Domain, actual: World) -> DomainMark | None:
    return next((found.definition.mark for found in actual.domains if found.uuid == domain.uuid), None)


def is_held(mark: DomainMark | None, actual: World) -> bool:
    return bool(mark and mark.hold and mark.hold.holds_at(actual.now))


def actions_of(plan: Plan) -> list[Action]:
    return [action for domain in plan.domains for action in domain.actions]


def problems(plan: Plan) -> set[tuple[str, str]]:
    return {(domain.name, problem) for domain in plan.domains for problem in domain.problems}
