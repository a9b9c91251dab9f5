"""Groups of verbs that import a room of this package only when one of its verbs is called."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click


class Verbs(click.Group):
    """A group that knows by `rooms` which module registers which of its verbs. Its help imports all of them."""

    def __init__(self, *args: Any, rooms: Mapping[str, str], **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.rooms = rooms

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for room, verbs in self.rooms.items():
            if cmd_name in verbs.split():
                import_module(f"virtrbd.commands.{room}")
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        for room in self.rooms:
            import_module(f"virtrbd.commands.{room}")
        return super().list_commands(ctx)
