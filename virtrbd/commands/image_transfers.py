"""The verbs that copy images: export, copy."""

from functools import partial

import click

from virtrbd.commands.app import Run, with_global_options
from virtrbd.commands.image_session import (
    ALREADY_THERE,
    IMAGE,
    IMAGE_TYPE,
    NEW_IMAGE_TYPE,
    VERIFY,
    Session,
    image_session,
    require_plain,
    until_answered,
)
from virtrbd.commands.images import image
from virtrbd.commands.layout import LAYOUT, layout_of
from virtrbd.commands.progress import PROGRESS, showing_progress
from virtrbd.errors import ClusterError, UsageError
from virtrbd.model.image import Image, ImageRef
from virtrbd.model.size import format_size
from virtrbd.printable import shell_command


@image.command(name="export")
@IMAGE
@click.argument("file", type=click.Path())
@click.option("--format", "file_format", type=click.Choice(["raw", "qcow2"]), default="raw", show_default=True)
@VERIFY
@PROGRESS
@with_global_options
def export_image(run: Run, ref: ImageRef, file: str, file_format: str, verify: bool, progress: str) -> None:
    """Export an image or a snapshot into a new FILE."""
    from virtrbd.images.transfer import export_image as export

    if file == "-":
        raise UsageError("an export is written to a file, whose name it gets when it is whole; name one")
    with image_session(run) as session, showing_progress(run, progress, str(ref)) as update:
        source = _source(session, ref)
        host = session.with_progress(update)
        export(host, ref, source.size_bytes, file, file_format, check=verify)
    size = format_size(source.size_bytes)
    run.answer(
        {"image": str(ref), "file": file, "format": file_format, "size_bytes": source.size_bytes, "verified": verify},
        [f"{ref}: exported to {file} ({size}{', verified' if verify else ''})"],
    )


@image.command()
@click.argument("source", metavar="IMAGE[@SNAPSHOT]", type=IMAGE_TYPE)
@click.argument("ref", metavar="NEW_IMAGE", type=NEW_IMAGE_TYPE)
@LAYOUT
@PROGRESS
@with_global_options
def copy(run: Run, source: ImageRef, ref: ImageRef, progress: str, **layout: str) -> None:
    """Copy an image or a snapshot into a new image.

    The copy shares nothing with it.
    """
    from virtrbd.images.resume import fill_by_hand
    from virtrbd.images.transfer import copy_image

    require_plain(ref)
    wanted = layout_of(layout)
    with image_session(run) as session, showing_progress(run, progress, str(ref)) as update:
        found = _source(session, source)
        host = session.with_progress(update)
        fill = partial(copy_image, host, source, found.size_bytes, data_pool=wanted.data_pool)
        what = f"{source} {found.image_id}"
        was_there = fill_by_hand(host, ref, found.size_bytes, fill, wanted, word="copying", what=what)
    with until_answered(session.host.state, ref):
        run.answer_change(
            {"image": str(ref), "source": str(source), "size_bytes": found.size_bytes},
            [f"{ref}: {ALREADY_THERE if was_there else ''}copied from {source} ({format_size(found.size_bytes)})"],
            changed=not was_there,
        )


def _source(session: Session, ref: ImageRef) -> Image:
    """Return what is to be read. Raises ClusterError when it is not there, or not ready."""
    from virtrbd.ceph.details import missing_snapshot
    from virtrbd.ceph.images import read_image
    from virtrbd.images.require import known_as, not_ready_error, require_image

    found = read_image(session.host.cluster, ref)
    if found is None:
        require_image(session.host, ref)
        raise missing_snapshot(session.host.cluster, ref)
    found = known_as(session.host, found)
    if found.state:
        raise not_ready_error(found)
    if found.obstacles and "journaling" in found.features and not ref.snapshot:
        # Reading takes the lock of a journaled image, for qemu-img opens it read-write (measured with QEMU 7.2).
        way_out = f"qemu-img reads no journaled image then, {shell_command('rbd export', ref)} does"
        raise ClusterError(f"image {ref}: {found.obstacles[0].text}; {way_out}")
    if found.watchers and not ref.snapshot:
        who = ", ".join(map(str, found.watchers))
        session.host.say(
            f"image {ref} is open by {who}: what is read of it is of no single moment; make a snapshot, and name that"
        )
    return found
