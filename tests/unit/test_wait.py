"""Waiting for what a crashed client left open."""

import time

import pytest
from support.waiting import eventually

from virtrbd.errors import ImageBusyError
from virtrbd.images.wait import once_free

WAIT_S = 0.05


class Image:
    """Is in use at the first looks, and each look takes longer than the whole wait."""

    def __init__(self, looks_in_use: int) -> None:
        self.looks_in_use = looks_in_use

    def use(self) -> str:
        ends_at = time.monotonic() + WAIT_S
        eventually("the look is done", lambda: time.monotonic() > ends_at)
        self.looks_in_use -= 1
        if self.looks_in_use >= 0:
            raise ImageBusyError("it is open", ())
        return "free"


def test_the_wait_begins_when_the_image_was_seen_in_use() -> None:
    said: list[str] = []
    assert once_free(Image(1).use, wait_s=WAIT_S, say=said.append) == "free"
    assert said == ["it is open; waiting up to 0.05 s in case it is what a crash left behind"]


def test_an_image_that_stays_in_use_is_given_up() -> None:
    said: list[str] = []
    with pytest.raises(ImageBusyError, match="it is open"):
        once_free(Image(9).use, wait_s=WAIT_S, say=said.append)
    assert len(said) == 1, "told once"


def test_no_wait_is_one_look_and_nothing_said() -> None:
    said: list[str] = []
    with pytest.raises(ImageBusyError):
        once_free(Image(1).use, wait_s=0, say=said.append)
    assert said == []
