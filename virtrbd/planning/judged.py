"""Domains that an earlier run compared: as long as their documents are the same, they are not compared again."""

from collections.abc import Mapping, Sequence

from virtrbd.model.domain import Domain
from virtrbd.planning.basis import Basis
from virtrbd.planning.policy import Policy
from virtrbd.planning.world import World


def still_judged(desired: Sequence[Domain], actual: World, policy: Policy, judged: Mapping[str, str]) -> dict[str, str]:
    """Return the results of earlier comparisons that are still valid for the documents as they are now."""
    world = Basis.of(actual, policy)
    held = [(domain, defined) for domain in desired if (defined := world.held(domain)) and defined.uuid in judged]
    return {
        defined.uuid: judged[defined.uuid]
        for domain, defined in held
        if judged[defined.uuid] == world.documents(domain, defined)
    }


def unjudged(desired: Sequence[Domain], actual: World, policy: Policy) -> tuple[Domain, ...]:
    """Return the domains of this host whose documents must be compared: more must be read of these."""
    world = Basis.of(actual, policy)
    return tuple(d for d in desired if d.host == policy.host and not world.is_judged(world.held(d)))
