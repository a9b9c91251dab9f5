"""A domain on the command line, and how it is forgotten."""

import click

from virtrbd.errors import UsageError
from virtrbd.model.names import check_plain

NAME = click.argument("name")
DOMAIN = click.argument("name", metavar="DOMAIN")
FORGET_SNAPSHOTS = click.option(
    "--forget-snapshots", is_flag=True, help="Forget libvirt's snapshots and checkpoints of it too."
)


def require_plain_text(what: str, text: str) -> None:
    """Raise UsageError for text that XML or a line of output cannot hold."""
    try:
        check_plain(text)
    except ValueError as error:
        raise UsageError(f"{what}: {error}") from None
