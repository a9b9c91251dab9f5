"""Sets of CPUs."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtrbd.model.cpu_set import members, set_text


@pytest.mark.parametrize(
    ("text", "form"),
    [("3", "3"), ("0-3,^2", "0-1,3"), ("7, 1,2", "1-2,7"), ("^2,0-3", "0-3"), ("0-3,^2,2", "0-3"), ("03", "3")],
)
def test_is_written_as_libvirt_does(text: str, form: str) -> None:
    assert set_text(members(text)) == form


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "'' is not a set of numbers; write it like 0-3,^2 or 1,5"),
        ("0-", "'0-' is not a set of numbers"),
        ("0-3,^1-2", "is not a set of numbers"),
        ("1,^1", "'1,^1' leaves no number"),
        ("3-1", "3-1 ends before it begins; write 1-3"),
        ("0-1024", "1024 is more than libvirt takes; write numbers up to 1023"),
    ],
)
def test_what_is_none_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        members(text)


@given(numbers=st.frozensets(st.integers(0, 1023), min_size=1))
def test_is_read_back(numbers: frozenset[int]) -> None:
    assert members(set_text(numbers)) == numbers
