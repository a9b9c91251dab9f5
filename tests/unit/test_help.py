"""The help: verbs in groups, each with a summary that fits its line on a terminal of 80 columns."""

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from virtrbd.commands.app import app
from virtrbd.commands.frame.run import Run


def groups(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    yield path
    context = click.Context(group)
    for verb in group.list_commands(context):
        command = group.get_command(context, verb)
        if isinstance(command, click.Group):
            yield from groups(command, *path, verb)


def group_at(path: tuple[str, ...]) -> click.Group:
    group: click.Group = app
    for verb in path:
        found = group.get_command(click.Context(group), verb)
        assert isinstance(found, click.Group)
        group = found
    return group


GROUPS = list(groups(app))


def test_all_groups_are_looked_at() -> None:
    assert GROUPS == [(), ("hook",), ("image",), ("image", "snapshot"), ("image", "trash")]


@pytest.mark.parametrize("path", GROUPS)
def test_each_verb_has_one_line_that_is_whole(path: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, [*path, "--help"], obj=Run(), terminal_width=80)
    group = group_at(path)
    for verb in group.list_commands(click.Context(group)):
        [line] = [line for line in done.output.splitlines() if line.startswith(f"  {verb} ")]
        assert line.rstrip()[-1] in ".]", line
        assert not line.rstrip().endswith("..."), line
        assert len(line) < 80, line


def test_verbs_stand_under_the_heading_of_their_work() -> None:
    lines = CliRunner().invoke(app, ["--help"], terminal_width=80).output.splitlines()
    headings = [line for line in lines if line and not line.startswith((" ", "Usage:"))]
    assert headings == ["Options:", "Specs:", "Fleet of this host:", "Power:", "Images:", "Other:"]
    starting = next(line for line in lines if line.startswith("  start "))
    assert lines.index("Power:") < lines.index(starting) < lines.index("Images:")
