"""What all actions share."""

from dataclasses import dataclass
from typing import ClassVar

from virtrbd.model.hazard import Hazard


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseAction:
    """The base of all actions; `quiet` actions change nothing that an operator would care about.

    Nothing builds on `separable` actions: blocked, they hold back nothing else of their domain.
    """

    hazards: tuple[Hazard, ...] = ()
    quiet: ClassVar[bool] = False
    separable: ClassVar[bool] = False
