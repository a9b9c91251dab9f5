"""Many readings at a time, of which one that does not end holds up no other."""

import threading
from collections.abc import Iterator

import pytest

from virtrbd.hypervisor.patience import read_each


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """What a stuck reading waits for: set at the end, so that no thread is left behind."""
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize("at_a_time", [1, 3, 50])
def test_readings_come_back_in_order(at_a_time: int) -> None:
    items = list(range(40))
    assert read_each(items, str, patience_s=30, at_a_time=at_a_time, give_up=repr) == [str(item) for item in items]
    assert read_each([], str, patience_s=30, at_a_time=at_a_time, give_up=repr) == []


@pytest.mark.parametrize("at_a_time", [1, 2, 4])
@pytest.mark.parametrize("stuck", [{0}, {19}, {0, 1, 2, 3, 4}])
def test_what_does_not_end_is_given_up_and_the_rest_is_read(
    never: threading.Event, stuck: set[int], at_a_time: int
) -> None:
    def read(item: int) -> str:
        if item in stuck:
            never.wait()
        return "read"

    found = read_each(range(20), read, patience_s=0.05, at_a_time=at_a_time, give_up=lambda _item: "given up")
    assert found == ["given up" if item in stuck else "read" for item in range(20)]


def test_what_comes_after_it_was_given_up_changes_nothing() -> None:
    late, ended = threading.Event(), threading.Event()

    def read(item: str) -> str:
        if item == "late":
            late.wait()
            ended.set()
        return item

    found = read_each(["late", "other"], read, patience_s=0.05, at_a_time=1, give_up=str.upper)
    late.set()
    assert ended.wait(30)
    assert found == ["LATE", "other"]


def test_an_error_ends_it(never: threading.Event) -> None:
    def read(item: int) -> int:
        if item == 0:
            never.wait()
        raise ConnectionError(f"item {item}")

    with pytest.raises(ConnectionError, match="item 1"):
        read_each([0, 1], read, patience_s=30, at_a_time=2, give_up=abs)
