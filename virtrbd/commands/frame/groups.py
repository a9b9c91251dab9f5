"""Groups of verbs, which import the file of a verb only when that verb is called."""

import keyword
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click
from msgspec import Struct


class Group(Struct, frozen=True, kw_only=True):
    """Verbs by the heading under which the help lists them, in the order in which the work goes: each with its summary.

    A group in a group is there with its own verbs.
    """

    summary: str
    headings: Mapping[str, Mapping[str, "str | Group"]]

    @property
    def verbs(self) -> dict[str, "str | Group"]:
        """The words that may follow the group's name."""
        return {word: verb for verbs in self.headings.values() for word, verb in verbs.items()}


class Verbs(click.Group):
    """A group on the command line. `path`: the words that lead there."""

    def __init__(self, *args: Any, tree: Group, path: tuple[str, ...] = (), **attributes: Any) -> None:
        super().__init__(*args, **attributes | {"help": tree.summary})
        self.tree, self._path = tree, path

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        verb, path = self.tree.verbs.get(cmd_name), (*self._path, cmd_name)
        if verb is None:
            return None
        if cmd_name not in self.commands:
            group = Verbs(cmd_name, tree=verb, path=path) if isinstance(verb, Group) else None
            self.commands[cmd_name] = group or _verb_of(path)
        return self.commands[cmd_name]

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self.tree.verbs)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write each heading with its verbs and their summaries; it imports none of them."""
        widest = max(map(len, self.tree.verbs))
        for heading, verbs in self.tree.headings.items():
            with formatter.section(heading):
                formatter.write_dl(
                    [
                        (word.ljust(widest), verb.summary if isinstance(verb, Group) else verb)
                        for word, verb in verbs.items()
                    ]
                )


def module_of(path: tuple[str, ...]) -> str:
    """Return the module of a verb: `image snapshot create` is in `image/snapshot_create.py`."""
    file = "_".join(path[1:] or path)
    name = f"{file}_" if keyword.iskeyword(file) else file
    return ".".join(("virtrbd.commands", *path[:-1][:1], name))


def _verb_of(path: tuple[str, ...]) -> click.Command:
    names = vars(import_module(module_of(path)))
    [command] = (each for each in names.values() if isinstance(each, click.Command))
    return command
