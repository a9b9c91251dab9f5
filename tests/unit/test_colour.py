"""Colour on a terminal, and nowhere else."""

import io

import pytest

from virtrbd.commands.output.colour import coloured, wants_colour
from virtrbd.commands.output.printing import print_lines
from virtrbd.model.plan import FindingKind
from virtrbd.model.power import PowerState

ESCAPE = "\x1b["


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("line", "word", "number"),
    [
        ("web: BLOCKED: edit definition: needs --allow interrupts-guest", "BLOCKED", 33),
        ("web: FAILED: no such file", "FAILED", 31),
        ("STOPPED: more than 10 %", "STOPPED", 31),
        ("web: pending restart: /vcpu: 1 -> 2", "pending restart", 33),
        ("web   running   1 GiB", "running", 32),
        ("web   paused", "paused", 33),
    ],
)
def test_the_word_that_calls_for_a_person_has_a_colour(line: str, word: str, number: int) -> None:
    assert coloured(line) == line.replace(word, f"{ESCAPE}{number}m{word}{ESCAPE}0m")


@pytest.mark.parametrize("line", ["web: would start domain", "running  shut off  1 GiB", "web: started", "FAILED", ""])
def test_other_lines_are_plain(line: str) -> None:
    assert coloured(line) == line


def test_each_kind_of_finding_has_a_colour() -> None:
    assert [kind for kind in FindingKind if ESCAPE not in coloured(f"web: {kind}: text")] == []


def test_each_state_that_is_not_plainly_off_has_a_colour() -> None:
    plain = [state for state in PowerState if ESCAPE not in coloured(f"web  {state}  1 GiB")]
    assert plain == [PowerState.SHUT_OFF, PowerState.UNKNOWN]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({}, False)],
)
def test_a_terminal_gets_colour_unless_it_is_not_wanted(
    environment: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert wants_colour(Terminal()) is expected
    assert not wants_colour(io.StringIO())
    assert not wants_colour(None)


def test_what_a_stranger_wrote_brings_no_escapes_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("virtrbd.commands.output.printing.wants_colour", lambda _: True)
    print_lines(["we\x1b[31mb: FAILED: text"])
    # click takes colour out where there is no terminal.
    assert capsys.readouterr().out == "we\\x1b[31mb: FAILED: text\n"
