"""How pools grow: kept a day, bounded, and said only where it is known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtrbd.model.overview import PoolSpace, PoolsThen
from virtrbd.planning.growth import growth_of, with_today

DAY = 86_400.0
GIB = 1024**3


def space(stored: int, free: int = 100 * GIB, quota: int = 0) -> PoolSpace:
    return PoolSpace(name="vms", stored_bytes=stored, free_bytes=free, quota_bytes=quota)


@given(st.lists(st.floats(0, 5000 * DAY), min_size=1, max_size=60))
def test_a_day_has_one_entry_and_the_last_one_is_now(times: list[float]) -> None:
    history: tuple[PoolsThen, ...] = ()
    for at in times:
        history = with_today(history, [space(int(at))], at)
    days = [each.at // DAY for each in history]
    assert days == sorted(set(days))
    assert history[-1] == PoolsThen(at=times[-1], stored={"vms": int(times[-1])})


def test_the_history_is_bounded() -> None:
    history: tuple[PoolsThen, ...] = ()
    for day in range(1000):
        history = with_today(
            history, [PoolSpace(name=f"p{n}", stored_bytes=n, free_bytes=1) for n in range(200)], day * DAY
        )
    assert (len(history), len(history[-1].stored)) == (400, 100)


def test_growth_is_that_of_the_last_month() -> None:
    history = [PoolsThen(at=day * DAY, stored={"vms": (max(0, day - 60)) * GIB}) for day in range(91)]
    found = growth_of(space(30 * GIB, free=60 * GIB), history)
    assert found.bytes_a_day == pytest.approx(GIB)
    assert found.full_in_days == pytest.approx(60)
    limited = growth_of(space(30 * GIB, free=60 * GIB, quota=45 * GIB), history)
    assert limited.full_in_days == pytest.approx(15)


def test_of_one_report_nothing_is_known_and_a_pool_that_shrinks_is_never_full() -> None:
    one = [PoolsThen(at=0, stored={"vms": GIB})]
    assert growth_of(space(GIB), one).bytes_a_day is None
    assert growth_of(space(GIB), [PoolsThen(at=0, stored={"other": 1})]).points == ()
    shrunk = growth_of(space(GIB), [PoolsThen(at=0, stored={"vms": 2 * GIB}), PoolsThen(at=DAY, stored={"vms": GIB})])
    assert (shrunk.bytes_a_day, shrunk.full_in_days) == (-GIB, None)


@given(stored=st.integers(0, 2**70), free=st.integers(0, 2**70), quota=st.integers(0, 2**70))
def test_a_pool_is_never_fuller_than_full(stored: int, free: int, quota: int) -> None:
    found = space(stored, free, quota)
    assert 0 <= found.share <= 1
    assert found.left_bytes >= 0
