"""What all actions share."""

from dataclasses import dataclass
from typing import ClassVar

from virtrbd.model.hazard import Hazard


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseAction:
    """What all actions share; `quiet` ones change nothing that a person would care about.

    Nothing builds on `separable` ones: blocked, they hold back nothing else of their domain.
    """

    hazards: tuple[Hazard, ...] = ()
    quiet: ClassVar[bool] = False
    separable: ClassVar[bool] = False
