"""Progress as JSON lines, for programs that watch a transfer."""

import json

import pytest

from virtrbd.commands.frame.run import Run
from virtrbd.commands.output.progress import showing_progress


class Clock:
    """A clock that goes as the test says."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("virtrbd.commands.output.progress.time.monotonic", made)
    return made


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    captured = capsys.readouterr()
    assert captured.out == "", "stdout is for the answer"
    return [json.loads(line)["progress"] for line in captured.err.splitlines()]


def test_a_line_says_how_much_how_fast_and_how_long_yet(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with showing_progress(Run(), "json", "vms/a") as update:
        clock.now += 2
        update(1000, 4000)
    assert lines(capsys) == [
        {"what": "vms/a", "done_bytes": 1000, "total_bytes": 4000, "bytes_per_s": 500, "eta_s": 6.0}
    ]


def test_of_a_pipe_nobody_knows_how_long_it_takes(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with showing_progress(Run(), "json", "vms/a") as update:
        clock.now += 2
        update(1000, 0)
    [line] = lines(capsys)
    assert (line["total_bytes"], line["eta_s"], line["bytes_per_s"]) == (None, None, 500)


def test_lines_come_once_a_second_and_once_at_the_end(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with showing_progress(Run(), "json", "vms/a") as update:
        for done in (1, 2, 3, 4):
            clock.now += 0.4
            update(done, 5)
        update(5, 5)
        update(5, 5)
    assert [line["done_bytes"] for line in lines(capsys)] == [1, 4, 5]


@pytest.mark.parametrize("how", ["none", "auto"])
def test_away_from_a_terminal_nothing_is_shown(how: str, capsys: pytest.CaptureFixture[str]) -> None:
    with showing_progress(Run(), how, "vms/a") as update:
        update(5, 5)
    assert lines(capsys) == []
