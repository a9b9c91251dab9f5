"""The verb `image export`: write an image or a snapshot to a file."""

from __future__ import annotations

import click

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.images import IMAGE, VERIFY
from virtrbd.commands.options.progress import PROGRESS
from virtrbd.errors import UsageError
from virtrbd.lazily import lazily

with lazily():
    from virtrbd.commands.connected.host import connected_for_images
    from virtrbd.commands.connected.sources import source_of
    from virtrbd.commands.output.progress import showing_progress
    from virtrbd.images.transfer import export_image as export
    from virtrbd.model.image import ImageRef
    from virtrbd.model.size import format_size


@verb
@IMAGE
@click.argument("file", type=click.Path())
@click.option("--format", "file_format", type=click.Choice(["raw", "qcow2"]), default="raw", show_default=True)
@VERIFY
@PROGRESS
def export_image(run: Run, *, ref: ImageRef, file: str, file_format: str, verify: bool, progress: str) -> None:
    """Export an image or a snapshot into a new FILE."""
    if file == "-":
        raise UsageError("an export needs a file, which gets its name when it is whole; name one")
    with connected_for_images(run) as host, showing_progress(run, progress, str(ref)) as update:
        source = source_of(host, ref)
        host = host.with_progress(update)
        export(host, ref, source.size_bytes, file, file_format, check=verify)
    size = format_size(source.size_bytes)
    run.answer(
        {"image": str(ref), "file": file, "format": file_format, "size_bytes": source.size_bytes, "verified": verify},
        [f"{ref}: exported to {file} ({size}{', verified' if verify else ''})"],
    )
