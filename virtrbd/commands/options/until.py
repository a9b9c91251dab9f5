"""When a hold ends: --until, a span from now or a date."""

from datetime import datetime

from virtrbd.errors import UsageError
from virtrbd.model.duration import parse_duration
from virtrbd.printable import quoted


def parse_until(text: str, now: float) -> float:
    """Return the time, in seconds since 1970, that a span from now or a date means. Raises UsageError."""
    try:
        ends_at = now + parse_duration(text)
    except (ValueError, OverflowError):
        ends_at = _parse_date(text)
    if ends_at <= now:
        raise UsageError(f"--until: {text} is over already")
    return ends_at


def _parse_date(text: str) -> float:
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except (ValueError, OverflowError):
        raise UsageError(f"--until: {quoted(text)} is not a time; write a span like 2h, or 2027-01-31T06:00") from None
