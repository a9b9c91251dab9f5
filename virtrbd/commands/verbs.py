"""Groups of verbs that import a module of this package only when one of its verbs is called."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

# click cuts a summary that is longer than this, with "...".
_WHOLE = 1000


class Verbs(click.Group):
    """A group that knows which module registers which of its verbs, and under which heading its help lists them.

    `verbs`: by heading, the module of each verb, in the order in which the work goes. The help imports all of them.
    """

    def __init__(self, *args: Any, verbs: Mapping[str, Mapping[str, str]], **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self._headings = verbs
        self.modules = {verb: module for modules in verbs.values() for verb, module in modules.items()}

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if module := self.modules.get(cmd_name):
            import_module(f"virtrbd.commands.{module}")
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self.modules)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each heading with its verbs and their summaries."""
        widest = max(map(len, self.modules))
        for heading, verbs in self._headings.items():
            commands = [(verb, command) for verb in verbs if (command := self.get_command(ctx, verb))]
            rows = [(verb.ljust(widest), command.get_short_help_str(limit=_WHOLE)) for verb, command in commands]
            with formatter.section(heading):
                formatter.write_dl(rows)
