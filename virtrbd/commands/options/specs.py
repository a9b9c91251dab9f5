"""Specs on the command line: which, how much may change, and what is allowed."""

from collections.abc import Callable, Sequence

import click

from virtrbd.commands.options.allow import ALLOW
from virtrbd.model.settings import Settings

FILES = click.argument("files", nargs=-1, required=True, type=click.Path(readable=False))
PATHS = click.argument("paths", metavar="[DIR | FILE]...", nargs=-1, type=click.Path(readable=False))

_OPTIONS = (
    click.option(
        "--limit", metavar="N%", default="30%", show_default=True, help="Stop when more of the domains would change."
    ),
    click.option("--strict", is_flag=True, help="One broken spec file holds back everything."),
    ALLOW,
)


def FLEET_OPTIONS(command: Callable[..., None]) -> Callable[..., None]:  # noqa: N802 - it is used as a constant
    """Give a verb the options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def paths_of(paths: Sequence[str], settings: Settings) -> tuple[str, ...]:
    """Return what was named, else the settings' own directory of specs."""
    return tuple(paths) or (settings.spec_dir,)
