"""The verb `image remove`: move an image to the trash, or remove it for good."""

from __future__ import annotations

import click

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.allow import ALLOW, parse_allowed
from virtrbd.commands.options.images import CLEAR, IMAGE, PLAN, require_plain
from virtrbd.commands.options.progress import PROGRESS
from virtrbd.commands.options.types import DURATION_TYPE
from virtrbd.lazily import lazily

with lazily():
    from virtrbd.commands.connected.host import connected_for_images
    from virtrbd.commands.connected.removals import carry_out, require_details
    from virtrbd.model.image import ImageRef
    from virtrbd.planning.removal import RemovalPlan, plan_removal


@verb
@IMAGE
@click.option(
    "--delay", type=DURATION_TYPE, default="14d", show_default=True, help="How long it waits in the trash, like 12h."
)
@click.option("--now", is_flag=True, help="Remove it for good, snapshots and all; needs --allow loses-data.")
@CLEAR
@PLAN
@PROGRESS
@ALLOW
def remove(
    run: Run,
    *,
    ref: ImageRef,
    delay: float,
    now: bool,
    clear: bool,
    only_plan: bool,
    progress: str,
    allow: tuple[str, ...],
) -> None:
    """Move an image to the trash, or show what keeps it.

    It names the command that clears each obstacle.
    """
    require_plain(ref)
    with connected_for_images(run, parse_allowed(allow)) as host, host.state.locked([str(ref)], "image remove"):

        def plan() -> RemovalPlan:
            details = require_details(host, ref)
            uses = host.known_uses(ref)
            return plan_removal(details, uses, host.host_uuid, delay_s=None if now else delay)

        carry_out(run, host, plan, progress, clear=clear, only_plan=only_plan)
