"""Colour on a terminal, for words that need attention: states, what is blocked, what differs."""

import os
import re
from typing import TextIO

from click import style

_COLOURS = {
    "green": ("running",),
    "yellow": (
        "paused", "saved", "BLOCKED", "BUSY", "NOT TRIED", "PENDING", "pending restart", "asked of the guest",
        "changed by others", "orphan", "rebuild", "held", "managed save", "stale monitors",
    ),
    "red": ("crashed", "STOPPED", "FAILED", "UNKNOWN", "cannot be read", "not XML"),
}  # fmt: skip
_COLOUR_OF = {word: colour for colour, words in _COLOURS.items() for word in words}
_WORDS = "|".join(_COLOUR_OF)
# `web: BLOCKED: why`, or a cell of a table behind the first.
_WORD = re.compile(rf"(?:(?<=: )|^)(?:{_WORDS})(?=: )|(?<=  )(?:{_WORDS})(?=  |$)")


def wants_colour(stream: TextIO | None) -> bool:
    """Whether the output goes to a terminal whose user wants colour (https://no-color.org)."""
    is_plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb"
    return bool(stream and stream.isatty() and not is_plain)


def coloured(line: str) -> str:
    """Return a line, which is printable, with its first such word in colour."""
    return _WORD.sub(lambda match: style(match[0], fg=_COLOUR_OF[match[0]]), line, count=1)
