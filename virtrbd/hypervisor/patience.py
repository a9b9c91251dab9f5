"""Many readings at a time: a reading that does not end delays no other."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from virtrbd.deadline import abandon

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_each(
    items: Sequence[Item],
    read: Callable[[Item], Result],
    *,
    patience_s: float,
    at_a_time: int,
    give_up: Callable[[Item], Result],
) -> list[Result]:
    """Return `read` of each item, or `give_up` of an item that takes longer than the patience.

    A reading that takes too long is abandoned (virtrbd.deadline), and another thread takes its place. Raises what
    `read` raises.
    """
    readings = _Readings(items, read, give_up)
    for _ in range(min(at_a_time, len(items))):
        readings.begin()
    readings.wait(patience_s)
    return [readings.done[at] for at in range(len(items))]


class _Readings(Generic[Item, Result]):
    """The items that are left, the items that are being read, by thread, and the results of the others, by position."""

    def __init__(
        self, items: Sequence[Item], read: Callable[[Item], Result], give_up: Callable[[Item], Result]
    ) -> None:
        self.done: dict[int, Result] = {}
        self._items, self._read, self._give_up = items, read, give_up
        self._left = deque(range(len(items)))
        self._begun: dict[threading.Thread, tuple[int, float]] = {}
        self._errors: list[BaseException] = []
        self._news = threading.Condition()

    def begin(self) -> None:
        threading.Thread(target=self._work, daemon=True).start()

    def wait(self, patience_s: float) -> None:
        """Wait until all items are done."""
        with self._news:
            while len(self.done) < len(self._items) and not self._errors:
                now = time.monotonic()
                for thread, (at, since) in list(self._begun.items()):
                    if since + patience_s <= now:
                        del self._begun[thread]
                        self.done[at] = self._give_up(self._items[at])
                        abandon("a reading that does not end")
                        self.begin()
                soonest = min((since for _, since in self._begun.values()), default=now)
                self._news.wait(max(0.0, soonest + patience_s - now))
        if self._errors:
            raise self._errors[0]

    def _work(self) -> None:
        me = threading.current_thread()
        while (at := self._next(me)) is not None:
            try:
                result = self._read(self._items[at])
            except BaseException as error:  # passed on to the caller's thread
                with self._news:
                    self._errors.append(error)
                    self._news.notify()
                return
            with self._news:
                if self._begun.pop(me, None) is None:
                    # It was given up, and another thread took its place.
                    return
                self.done[at] = result

    def _next(self, me: threading.Thread) -> int | None:
        """Return the position of the next item, None at the end."""
        with self._news:
            if self._left and not self._errors:
                at = self._left.popleft()
                self._begun[me] = (at, time.monotonic())
                return at
            self._news.notify()
            return None
