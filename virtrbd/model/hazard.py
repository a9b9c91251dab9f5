"""Hazards: what an action may cost."""

from enum import StrEnum


class Hazard(StrEnum):
    """What an action may cost; an action whose hazard is not allowed stays in the plan, blocked."""

    INTERRUPTS_GUEST = "interrupts-guest"
    FORGETS_DOMAIN = "forgets-domain"
    LOSES_DATA = "loses-data"
    TAKES_OVER = "takes-over"
