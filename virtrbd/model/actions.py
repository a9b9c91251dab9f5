"""Actions, the steps of a plan. What must never happen has no action: there is no ShrinkImage."""

from virtrbd.model.domain_actions import DomainAction
from virtrbd.model.image_actions import ImageAction
from virtrbd.model.live_actions import AnyLive
from virtrbd.model.removal_actions import RemovalAction

# Repairs are not in it: only `image repair` plans them, and they are not imported with the others.
Action = DomainAction | ImageAction | AnyLive | RemovalAction
