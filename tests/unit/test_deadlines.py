"""Deadlines: of one call, and of many in a row."""

import threading
from dataclasses import replace

import pytest

from virtrbd.ceph.cluster import Cluster, Moved
from virtrbd.errors import UnavailableError
from virtrbd.model.settings import Settings, Timeouts

CLUSTER = Cluster(None, replace(Settings(host="h"), timeouts=Timeouts(ceph=0.2)))
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
