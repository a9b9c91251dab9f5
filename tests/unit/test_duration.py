"""Spans of time, as `--delay` takes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtrbd.model.duration import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"), [("14d", 1209600.0), ("12h", 43200.0), ("30 m", 1800.0), ("90s", 90.0), ("2w", 1209600.0)]
)
def test_reads_a_number_with_its_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["14", "", "d", "-1d", "1.5d", "1d12h", "1D", "1 month"])
def test_refuses_what_is_no_span(text: str) -> None:
    with pytest.raises(ValueError, match="is not a span of time; write a number with s, m, h, d or w, like 14d"):
        parse_duration(text)


def test_refuses_what_ceph_could_not_hold() -> None:
    assert parse_duration("36500d") == 36500 * 86400
    with pytest.raises(ValueError, match="longer than a hundred years"):
        parse_duration("99999999999999w")


@given(st.integers(0, 10**9))
def test_what_is_printed_reads_back_the_same(seconds: int) -> None:
    assert parse_duration(format_duration(float(seconds))) == seconds
