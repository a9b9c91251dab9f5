"""Images and snapshots on the command line, and what verbs on them share."""

import click

from virtrbd.commands.options.types import Parsed
from virtrbd.errors import UsageError
from virtrbd.model.image import ImageRef

IMAGE_TYPE = Parsed("image", ImageRef.parse)
NEW_IMAGE_TYPE = Parsed("image", ImageRef.parse_new)

IMAGE = click.argument("ref", metavar="IMAGE", type=IMAGE_TYPE)
NEW_IMAGE = click.argument("ref", metavar="IMAGE", type=NEW_IMAGE_TYPE)
SNAPSHOT = click.argument("ref", metavar="IMAGE@SNAPSHOT", type=IMAGE_TYPE)
NEW_SNAPSHOT = click.argument("ref", metavar="IMAGE@SNAPSHOT", type=NEW_IMAGE_TYPE)
VERIFY = click.option("--verify", is_flag=True, help="Read both again and compare them.")
PLAN = click.option("--plan", "only_plan", is_flag=True, help="Only show what would be done, and what keeps it.")
CLEAR = click.option("--clear", is_flag=True, help="Also do the steps that clear the way: flatten clones, unprotect.")


def require_plain(ref: ImageRef) -> None:
    """Raise UsageError when the name is a snapshot's."""
    if ref.snapshot:
        raise UsageError(f"{ref} is a snapshot; write {ref.image}")


def require_snapshot(ref: ImageRef) -> None:
    """Raise UsageError when the name is not a snapshot's."""
    if not ref.snapshot:
        raise UsageError(f"{ref} is not a snapshot; write {ref}@NAME")
