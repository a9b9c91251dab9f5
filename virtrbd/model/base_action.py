"""What all actions share."""

from typing import ClassVar

from msgspec import Struct
from msgspec.structs import asdict

from virtrbd.model.hazard import Hazard


class BaseAction(Struct, frozen=True, kw_only=True):
    """The base of all actions; `quiet` actions change nothing that an operator would care about.

    Nothing builds on `separable` actions: blocked, they hold back nothing else of their domain.
    `wording`: the text, with the names of fields in braces; an action that has no such text has its own `text`.
    """

    hazards: tuple[Hazard, ...] = ()
    quiet: ClassVar[bool] = False
    separable: ClassVar[bool] = False
    wording: ClassVar[str]

    @property
    def text(self) -> str:
        """What it does, in words that follow the name of its domain or image."""
        return self.wording.format_map(asdict(self))

    def missing_hazards(self, allowed: frozenset[Hazard]) -> list[Hazard]:
        """Return its hazards that are not allowed."""
        return [hazard for hazard in self.hazards if hazard not in allowed]
