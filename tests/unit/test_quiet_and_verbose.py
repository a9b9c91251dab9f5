"""-q says nothing where nothing is to be done, -v says which calls are made and how long they took."""

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from virtrbd.commands.frame.run import Run
from virtrbd.deadline import call_within, followed_by
from virtrbd.errors import UnavailableError


class Calls:
    """What a follower of the calls gets."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[tuple[str, bool]] = []

    def begin(self, what: str) -> None:
        self.begun.append(what)

    def report_call(self, what: str, seconds: float, is_over: bool) -> None:
        assert 0 <= seconds < 60
        self.ended.append((what, is_over))


@pytest.fixture
def calls() -> Iterator[Calls]:
    found = Calls()
    with followed_by(found):
        yield found


@pytest.mark.parametrize(("quiet", "changed", "is_said"), [(0, 0, 1), (0, 1, 1), (1, 0, 0), (1, 1, 1)])
def test_only_what_changed_nothing_is_quiet(
    quiet: int, changed: int, is_said: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("virtrbd.commands.frame.run.ignore_signals", lambda: None)
    Run(quiet=bool(quiet)).answer_change({"name": "web"}, ["web: started"], changed=bool(changed))
    assert capsys.readouterr().out == ("web: started\n" if is_said else "")


def test_json_is_whole_all_the_same(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("virtrbd.commands.frame.run.ignore_signals", lambda: None)
    Run(quiet=True, output="json").answer_change({"name": "web"}, ["web: runs already"], changed=False)
    assert '"changed": false' in capsys.readouterr().out


def test_each_call_is_reported_also_one_that_fails(calls: Calls) -> None:
    assert call_within(20, "adding", lambda: 1 + 1) == 2
    with pytest.raises(KeyError):
        call_within(20, "looking", lambda: dict[str, int]()["x"])
    assert calls.ended == [("adding", True), ("looking", True)]


def test_a_call_that_is_given_up_is_reported_as_such(calls: Calls) -> None:
    from threading import Event

    held = Event()
    with pytest.raises(UnavailableError):
        call_within(0.05, "waiting", held.wait)
    held.set()
    assert calls.ended == [("waiting", False)]


def test_what_changes_something_has_begun_and_only_for_who_follows(calls: Calls) -> None:
    follower = Calls()
    with followed_by(follower):
        call_within(20, "reading", lambda: None)
        call_within(20, "writing", lambda: None, changes=True)
    call_within(20, "writing again", lambda: None, changes=True)
    assert follower.begun == ["writing"]
    assert calls.begun == ["writing", "writing again"]


@pytest.mark.parametrize("words", [["-v", "list"], ["list", "-v"]])
def test_the_calls_go_to_stderr(words: list[str]) -> None:
    nowhere = ["--connect", "test:///nowhere"]
    done = subprocess.run(
        [sys.executable, "-m", "virtrbd", *nowhere, *words], capture_output=True, text=True, check=False, timeout=30
    )
    assert re.search(r"^libvirt: connecting to test:///nowhere took [0-9.]+ ms$", done.stderr, re.MULTILINE), done
    assert done.stdout == ""
