"""Until when a domain is held, as people write it."""

from datetime import datetime

import pytest

from virtrbd.commands.options.domains import require_plain_text
from virtrbd.commands.options.until import parse_until
from virtrbd.errors import UsageError

NOW = datetime.fromisoformat("2027-01-30T12:00").astimezone().timestamp()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2h", 7200), ("3d", 3 * 86400), ("2027-01-31T12:00", 86400), ("2027-01-31 12:00", 86400), ("2027-01-31", 43200)],
)
def test_a_span_or_a_date_is_a_time(text: str, seconds: int) -> None:
    assert parse_until(text, NOW) == NOW + seconds


def test_a_date_may_name_its_zone() -> None:
    assert parse_until("2027-02-01T12:00+05:00", NOW) == parse_until("2027-02-01T07:00Z", NOW)


@pytest.mark.parametrize("text", ["tomorrow", "2", "h", "2027-13-01", "0001-01-01", "9" * 400 + "d"])
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(UsageError, match=r"--until: .*(write a span like 2h, or 2027-01-31T06:00|over already)"):
        parse_until(text, NOW)


@pytest.mark.parametrize("text", ["2026-12-31", "0s"])
def test_a_hold_that_is_over_already_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is over already"):
        parse_until(text, NOW)


def test_a_hold_past_all_calendars_is_refused() -> None:
    with pytest.raises(UsageError, match="is not a time; write a span"):
        parse_until("99999999w", NOW)


@pytest.mark.parametrize("text", ["a\nb", "bell\x07", "nul\x00"])
def test_what_no_xml_can_hold_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--why: .* holds control or other"):
        require_plain_text("--why", text)
    require_plain_text("--why", 'disks move, "see" <ticket>')
