"""Each verb has one file in virtrbd/commands, named as the verb; what verbs share is in folders."""

import os
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from virtrbd.commands.app import app
from virtrbd.commands.frame.groups import Verbs, module_of

ROOT = Path(__file__).parent.parent.parent
COMMANDS = ROOT / "virtrbd/commands"
# What is in commands/ beside the verbs: the command line itself, and what the verbs share.
FRAME = {"__init__", "app"}
GROUPS = ("hook", "image")
FOLDERS = {"connected", "frame", "options", "output", *GROUPS}
Words = tuple[str, ...]


def verbs_below(group: click.Group, path: Words = ()) -> Iterator[tuple[Words, click.Command, str]]:
    """Each verb, with the words that lead there, and its summary in the help of its group."""
    context = click.Context(group)
    assert isinstance(group, Verbs)
    for word in group.list_commands(context):
        command = group.get_command(context, word)
        assert command is not None
        if isinstance(command, click.Group):
            yield from verbs_below(command, (*path, word))
        else:
            summary = group.tree.verbs[word]
            assert isinstance(summary, str)
            yield (*path, word), command, summary


VERBS = list(verbs_below(app))
PATHS = [path for path, _, _ in VERBS]


def files_in(folder: Path) -> set[str]:
    """The modules in a folder, without those in its folders."""
    return {".".join(file.relative_to(ROOT).with_suffix("").parts) for file in folder.glob("*.py")}


@pytest.mark.parametrize(("path", "command"), [(path, command) for path, command, _ in VERBS], ids=map(" ".join, PATHS))
def test_each_verb_is_in_the_file_that_is_named_as_it_is(path: Words, command: click.Command) -> None:
    assert command.callback is not None
    assert command.callback.__module__ == module_of(path)


def test_there_is_one_file_for_each_verb_and_no_other() -> None:
    shared = {f"virtrbd.commands.{name}" for name in FRAME} | {f"virtrbd.commands.{name}.__init__" for name in GROUPS}
    groups = [files_in(COMMANDS / name) for name in GROUPS]
    assert len({*map(module_of, PATHS)}) == len(PATHS)
    assert files_in(COMMANDS).union(*groups) - shared == {*map(module_of, PATHS)}


def test_what_verbs_share_is_in_folders_that_are_known() -> None:
    found = {entry.name for entry in os.scandir(COMMANDS) if entry.is_dir() and entry.name != "__pycache__"}
    assert found == FOLDERS


@pytest.mark.parametrize(
    ("command", "summary"), [(command, summary) for _, command, summary in VERBS], ids=map(" ".join, PATHS)
)
def test_the_summary_in_the_tree_begins_the_help_of_the_verb(command: click.Command, summary: str) -> None:
    assert command.get_short_help_str(limit=1000) == summary
