"""Deadlines: of one call, and of many in a row."""

import threading

import pytest

from virtrbd import deadline
from virtrbd.ceph.cluster import Cluster, Moved
from virtrbd.errors import UnavailableError
from virtrbd.model.record import replace
from virtrbd.model.settings import Settings, Timeouts

CLUSTER = Cluster(None, replace(Settings(host="h"), timeouts=Timeouts(ceph=0.2)), None)
PAUSE_S = 0.1


def test_calls_in_a_row_may_take_longer_than_one_may() -> None:
    def walk(moved: Moved) -> int:
        for _ in range(5):
            # As long as a call takes that does answer.
            threading.Event().wait(PAUSE_S)
            moved()
        return 5

    assert CLUSTER.call_in_steps("walking", walk) == 5


def test_one_of_them_that_does_not_answer_ends_the_walk() -> None:
    is_over = threading.Event()
    with pytest.raises(UnavailableError, match=r"Ceph: walking: no answer within 0\.2 s"):
        CLUSTER.call_in_steps("walking", lambda _: is_over.wait(20))
    is_over.set()


def test_ctrl_c_while_the_call_s_thread_starts_leaves_the_call_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    start, is_over = threading.Thread.start, threading.Event()

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    monkeypatch.setattr(deadline, "_process", deadline.Process())
    with pytest.raises(KeyboardInterrupt):
        deadline.call_within(20, "waiting", lambda: is_over.wait(20))
    # librados crashes when its connection is taken away under a call: so whoever closes it must know.
    assert deadline.is_abandoned()
    is_over.set()
