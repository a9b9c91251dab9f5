"""How pools grow: from what earlier reports kept, one entry a day. Pure."""

from collections.abc import Iterable, Sequence

from virtrbd.model.overview import PoolGrowth, PoolSpace, PoolsThen

_DAY_S = 86_400.0
# Kept days, and pools of a day: the file stays small.
_MOST_DAYS, _MOST_POOLS = 400, 100
# The rate is that of the last month; of less than half a day nothing can be said.
_RECENT_DAYS, _LEAST_DAYS = 30, 0.5
# Of which a line is drawn.
_DRAWN_DAYS = 90


def with_today(history: Sequence[PoolsThen], spaces: Iterable[PoolSpace], now: float) -> tuple[PoolsThen, ...]:
    """Return the history with what is stored now, which replaces an entry of the same day (UTC)."""
    stored = {space.name: space.stored_bytes for space in sorted(spaces, key=lambda space: space.name)[:_MOST_POOLS]}
    # After the clock was set back there may be entries of days to come.
    before = [each for each in history if each.at // _DAY_S < now // _DAY_S]
    return (*before[-(_MOST_DAYS - 1) :], PoolsThen(at=now, stored=stored))


def growth_of(space: PoolSpace, history: Sequence[PoolsThen]) -> PoolGrowth:
    """Return the pool's growth; the last entry of the history is what is stored now."""
    points = [(each.at, each.stored[space.name]) for each in history if space.name in each.stored]
    if not points:
        return PoolGrowth(space=space, points=())
    now, stored = points[-1]
    drawn = tuple(point for point in points if now - point[0] <= _DRAWN_DAYS * _DAY_S)
    first_at, first = next(point for point in points if now - point[0] <= _RECENT_DAYS * _DAY_S)
    days = (now - first_at) / _DAY_S
    if days < _LEAST_DAYS:
        return PoolGrowth(space=space, points=drawn)
    rate = (stored - first) / days
    full = space.left_bytes / rate if rate > 0 else None
    return PoolGrowth(space=space, points=drawn, bytes_a_day=rate, full_in_days=full)
