"""The change limit: a run that would change too much at once changes nothing, for it may be the wrong directory."""

from collections.abc import Sequence

from virtrbd.model.actions import Action, DefineDomain, DefineSecret, StartDomain
from virtrbd.model.plan import DomainPlan

# Of fewer domains a share says nothing.
FEWEST = 10


def too_many(plans: Sequence[DomainPlan], limit_percent: int) -> str:
    """Return why the plan may not be carried out, or ""."""
    existing = [plan for plan in plans if plan.exists]
    changed = [plan.name for plan in existing if any(_counts(action) for action in plan.actions)]
    if len(existing) < FEWEST or len(changed) * 100 <= limit_percent * len(existing):
        return ""
    share = f"{len(changed)} of {len(existing)} domains would be changed, more than {limit_percent} %"
    return f"{share}: nothing was done. Is it the right directory? --limit {_needed(changed, existing)}% allows it"


def _needed(changed: Sequence[str], existing: Sequence[DomainPlan]) -> int:
    return -(-len(changed) * 100 // len(existing))


def _counts(action: Action) -> bool:
    """Whether the action may come of a wrong directory.

    Monitors that moved concern every domain, and after a power cut every guest is to start: neither comes of one.
    """
    if action.quiet or isinstance(action, StartDomain | DefineSecret):
        return False
    if isinstance(action, DefineDomain) and action.differences:
        return not all(difference.path.endswith("/source/host") for difference in action.differences)
    return True
