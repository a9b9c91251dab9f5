"""The verb `hold`: leave a domain alone, until it is released."""

from __future__ import annotations

import time
from datetime import datetime

import click

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.domains import DOMAIN, require_plain_text
from virtrbd.commands.options.until import parse_until
from virtrbd.lazily import lazily
from virtrbd.model.record import replace

with lazily():
    from virtrbd.commands.connected.named import require_domain
    from virtrbd.hypervisor.connection import Hypervisor
    from virtrbd.model.mark import Hold


@verb
@DOMAIN
@click.option("--until", metavar="TIME", default="", help="When it ends: a span like 2h, or 2027-01-31T06:00.")
@click.option("--why", metavar="TEXT", default="", help="The reason, for other operators.")
def hold(run: Run, name: str, until: str, why: str) -> None:
    """Keep reconcile, apply, define and start off a domain.

    The hold ends with release, or at the time that --until names.
    """
    ends_at = parse_until(until, time.time()) if until else None
    require_plain_text("--why", why)
    with Hypervisor.connect(run.settings()) as hypervisor:
        domain = require_domain(hypervisor, name)
        hypervisor.set_mark(domain.uuid, lambda mark: replace(mark, hold=Hold(until=ends_at, why=why)))
    text = f" until {datetime.fromtimestamp(ends_at).astimezone():%Y-%m-%d %H:%M %Z}" if ends_at else ""
    run.answer({"name": name, "until": ends_at, "why": why}, [f"{name}: held{text}"])
