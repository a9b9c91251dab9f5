"""How progress is shown: --progress."""

import click

PROGRESS = click.option(
    "--progress",
    type=click.Choice(["auto", "json", "none"]),
    default="auto",
    show_default=True,
    help="Show progress: a bar on a terminal, or JSON lines on stderr.",
)
