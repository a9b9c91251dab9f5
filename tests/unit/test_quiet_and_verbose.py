"""-q says nothing where nothing is to be done, -v says which calls are made and how long they took."""

import re
import subprocess
import sys

import pytest

from virtrbd import deadline
from virtrbd.commands.frame.run import Run
from virtrbd.deadline import call_within, report_calls
from virtrbd.errors import UnavailableError


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    monkeypatch.setattr(deadline, "_reports", [])
    found: list[tuple[str, bool]] = []

    def note(what: str, seconds: float, is_over: bool) -> None:
        assert 0 <= seconds < 60
        found.append((what, is_over))

    report_calls(note)
    return found


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


def test_each_call_is_reported_also_one_that_fails(calls: list[tuple[str, bool]]) -> None:
    assert call_within(20, "adding", lambda: 1 + 1) == 2
    with pytest.raises(KeyError):
        call_within(20, "looking", lambda: dict[str, int]()["x"])
    assert calls == [("adding", True), ("looking", True)]


def test_a_call_that_is_given_up_is_reported_as_such(calls: list[tuple[str, bool]]) -> None:
    from threading import Event

    held = Event()
    with pytest.raises(UnavailableError):
        call_within(0.05, "waiting", held.wait)
    held.set()
    assert calls == [("waiting", False)]


@pytest.mark.parametrize("words", [["-v", "list"], ["list", "-v"]])
def test_the_calls_go_to_stderr(words: list[str]) -> None:
    nowhere = ["--connect", "test:///nowhere"]
    done = subprocess.run(
        [sys.executable, "-m", "virtrbd", *nowhere, *words], capture_output=True, text=True, check=False, timeout=30
    )
    assert re.search(r"^libvirt: connecting to test:///nowhere took [0-9.]+ ms$", done.stderr, re.MULTILINE), done
    assert done.stdout == ""
