"""Spans of time: parsed from the form that users write, and formatted; in seconds."""

import re

from virtrbd.printable import quoted

# The year 10000, in seconds since 1970: a later time has no date.
LATEST = 253_402_300_800.0

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_LONGEST = 100 * 366 * 86400
_PATTERN = re.compile(r"(\d+)\s*([smhdw])")


def parse_duration(text: str) -> float:
    """Return the seconds that `14d`, `12h` or `30m` means. Raises ValueError."""
    match = _PATTERN.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{quoted(text)} is not a span of time; write a number with s, m, h, d or w, like 14d")
    seconds = int(match[1]) * _SECONDS[match[2]]
    if seconds > _LONGEST:
        raise ValueError(f"{quoted(text)} is longer than a hundred years")
    return float(seconds)


def format_duration(seconds: float) -> str:
    """Return the span in the largest unit that divides it: `14d`; parts of a second are left out."""
    for unit in ("d", "h", "m"):
        if seconds >= _SECONDS[unit] and seconds % _SECONDS[unit] == 0:
            return f"{int(seconds) // _SECONDS[unit]}{unit}"
    return f"{int(seconds)}s"
