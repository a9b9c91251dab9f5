"""Hazards that the operator allows: --allow."""

from collections.abc import Sequence

import click

from virtrbd.errors import UsageError
from virtrbd.model.hazard import Hazard

ALLOW = click.option(
    "--allow",
    multiple=True,
    metavar="HAZARD",
    help="Allow a hazard: interrupts-guest, forgets-domain, loses-data, takes-over.",
)


def parse_allowed(words: Sequence[str]) -> frozenset[Hazard]:
    """Return the hazards that `--allow A,B` names. Raises UsageError."""
    try:
        return frozenset(Hazard(part) for word in words for part in word.split(",") if part)
    except ValueError as error:
        raise UsageError(f"--allow: {error}; write {', '.join(Hazard)}") from None
