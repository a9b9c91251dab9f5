"""What plan, apply and reconcile share: which specs, how much may change, and what is allowed."""

import os
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from virtrbd.commands.app import ALLOW, Run
from virtrbd.errors import UsageError
from virtrbd.model.settings import Settings
from virtrbd.printable import quoted

if TYPE_CHECKING:
    from virtrbd.planning.plan import Policy
    from virtrbd.specs.directory import Fleet

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


def say_all(run: Run, lines: Sequence[str]) -> None:
    """Say the problems or warnings of specs."""
    for line in lines:
        run.say(line)


def policy_of(paths: Sequence[str], fleet: "Fleet", settings: Settings, limit: str) -> "Policy":
    """Return what a run over these specs may do. Raises UsageError for a limit that is none."""
    from virtrbd.planning.plan import Policy

    return Policy(
        host=settings.host,
        template_dir=settings.template_dir,
        by_spec=True,
        # Only a whole directory shows who has no spec; a broken file may be the one that names it.
        with_orphans=all(map(os.path.isdir, paths)) and fleet.is_whole,
        limit_percent=parse_limit(limit),
    )


def parse_limit(text: str) -> int:
    """Return the percentage that `30%` means. Raises UsageError."""
    match = re.fullmatch(r"(\d{1,3})\s*%?", text.strip())
    if match is None or int(match[1]) > 100:
        raise UsageError(f"--limit: {quoted(text)} is no share; write a number from 0 to 100, like 30%")
    return int(match[1])
