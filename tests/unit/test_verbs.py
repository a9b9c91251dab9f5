"""Every verb is found, and found in the module that registers it."""

from collections.abc import Iterator

import click
import pytest

from virtrbd.commands.app import app
from virtrbd.commands.verbs import Verbs


def groups_below(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Group]]:
    """The group and all groups in it, with the words that lead there."""
    yield path, group
    context = click.Context(group)
    for verb in group.list_commands(context):
        command = group.get_command(context, verb)
        if isinstance(command, click.Group):
            yield from groups_below(command, (*path, verb))


GROUPS = dict(groups_below(app))


@pytest.mark.parametrize("path", GROUPS)
def test_each_module_is_named_for_the_verbs_that_it_registers(path: tuple[str, ...]) -> None:
    group = GROUPS[path]
    named = dict(group.modules) if isinstance(group, Verbs) else {}
    registered = {
        verb: command.callback.__module__.rpartition(".")[2] if command.callback else ""
        for verb, command in group.commands.items()
    }
    # What the group's own module registers is there with the group.
    assert registered == (named or dict.fromkeys(registered, home_of(group)))


def home_of(group: click.Group) -> str:
    return group.callback.__module__.rpartition(".")[2] if group.callback else ""
