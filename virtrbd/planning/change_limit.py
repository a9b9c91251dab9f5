"""The change limit: a run that would change too much at once changes nothing, for it may be the wrong directory."""

from collections.abc import Sequence

from virtrbd.model.actions import Action
from virtrbd.model.domain_actions import DefineDomain, DefineSecret, StartDomain
from virtrbd.model.plan import DomainPlan

# A share of fewer domains has no meaning.
FEWEST = 10


def too_many(plans: Sequence[DomainPlan], limit_percent: int) -> str:
    """Return why the plan may not be executed, or ""."""
    existing = [plan for plan in plans if plan.exists]
    changed = [plan.name for plan in existing if any(_counts(action) for action in plan.actions)]
    if len(existing) < FEWEST or len(changed) * 100 <= limit_percent * len(existing):
        return ""
    share = f"{len(changed)} of {len(existing)} domains would be changed, more than {limit_percent} %"
    return f"{share}: nothing was done. Is this the right directory? --limit {_needed(changed, existing)}% allows it"


def _needed(changed: Sequence[str], existing: Sequence[DomainPlan]) -> int:
    return -(-len(changed) * 100 // len(existing))


def _counts(action: Action) -> bool:
    """Whether a wrong directory may cause the action.

    Monitors that moved concern every domain, and after a power cut every guest must start: neither has that cause.
    """
    if action.quiet or isinstance(action, StartDomain | DefineSecret):
        return False
    if isinstance(action, DefineDomain) and action.differences:
        return not all(difference.is_of_monitors for difference in action.differences)
    return True
