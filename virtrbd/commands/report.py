"""The verb `report`: this host and its pools on one page."""

from __future__ import annotations

import os

import click

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.pools import POOLS, rooms_of
from virtrbd.commands.options.types import FILE_TYPE
from virtrbd.errors import UsageError
from virtrbd.lazily import lazily

with lazily():
    from virtrbd.commands.connected.host import connected_for_images
    from virtrbd.commands.connected.pools import show_others
    from virtrbd.commands.output.failures import show_trace
    from virtrbd.commands.output.overview import overview_data, overview_lines
    from virtrbd.commands.output.page import page_of
    from virtrbd.engine.overview import make_overview
    from virtrbd.local.write_whole import cannot_write, opened_folder, refuse_special, write_whole


@verb
@click.option(
    "--html", type=FILE_TYPE, metavar="FILE", default="", help="Write the page to FILE, - for standard output."
)
@POOLS
def report(run: Run, html: str, pools: tuple[str, ...]) -> None:
    """Report this host and its pools on one page.

    The page is for a web server or a mail. It shows domains, what waits for the operator, how full pools are, the
    tree of clones and what could be freed.
    """
    if html == "-" and run.is_json:
        raise UsageError("--html -: standard output takes one document; leave out --output json, or name a file")
    if html not in ("", "-"):
        _refuse_target(html)
    with connected_for_images(run) as host:
        rooms = rooms_of(pools, host.settings.ceph.pool)
        found = make_overview(host, rooms)
        others = show_others(run, host.cluster, [each for each in rooms if each[0] not in found.failures])
    for what, failure in found.failures.items():
        show_trace(run, what, failure.trace)
    data = {**overview_data(found), "other_namespaces": others}
    if html == "-":
        run.answer_document(data, page_of(found))
    else:
        if html:
            _write(html, page_of(found))
        run.answer(data | {"file": html or None}, [f"{html}: written"] if html else overview_lines(found))
    run.end(found.exit_code)


def _refuse_target(file: str) -> None:
    """Raise UsageError, DeniedError where the page cannot be written, before it is made."""
    folder, name = os.path.split(file)
    way_out = "name a file in a folder that can be written"
    try:
        with opened_folder(folder) as descriptor:
            refuse_special(descriptor, name)
    except PermissionError as error:
        raise cannot_write(file, error, way_out) from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: {getattr(error, 'strerror', None) or error}; {way_out}") from error


def _write(file: str, page: str) -> None:
    """Write the page so that a web server never sends half of it."""
    try:
        # A web server runs as another user, and cron's umask may be strict.
        write_whole(file, page.encode(), 0o644, synced=False)
    except OSError as error:
        raise cannot_write(file, error, "name a file in a folder that can be written") from error
