"""The verbs that move data: import, export, copy."""

import os
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from virtrbd.commands.app import Run, with_global_options
from virtrbd.commands.image_session import IMAGE, IMAGE_TYPE, Session, image_session, require_plain
from virtrbd.commands.images import image
from virtrbd.commands.layout import LAYOUT, layout_of
from virtrbd.commands.progress import PROGRESS, showing_progress
from virtrbd.errors import ClusterError, DeniedError, SpecError, UsageError
from virtrbd.model.image import Image, ImageLayout, ImageRef
from virtrbd.model.size import format_size

# The snapshot of a base where none is named.
_BASE = "base"
# Those of qemu-img's that people keep disks in.
_FORMATS = ("raw", "qcow2", "vdi", "vhdx", "vmdk", "vpc")

VERIFY = click.option("--verify", is_flag=True, help="Read both again and compare them.")


@image.command(name="import")
@click.argument("file", type=click.Path())
@IMAGE
@click.option(
    "--format",
    "file_format",
    type=click.Choice(_FORMATS),
    default=None,
    help="What FILE is; else what it looks like, and a block device is raw.",
)
@click.option("--as-base", is_flag=True, help="Also make the protected snapshot @NAME (or @base) to clone from.")
@VERIFY
@LAYOUT
@PROGRESS
@with_global_options
def import_image(
    run: Run,
    file: str,
    ref: ImageRef,
    file_format: str | None,
    as_base: bool,
    verify: bool,
    progress: str,
    **layout: str,
) -> None:
    """Import FILE (any format that qemu-img reads, a block device, or - for raw data) into a new image."""
    if ref.snapshot and not as_base:
        raise UsageError(f"{ref} is a snapshot; import into {ref.image}, or write --as-base")
    target, base = ref.image, (ref.snapshot or _BASE) if as_base else ""
    wanted = layout_of(layout)
    source = _Source(file=file, file_format=file_format or "")
    size_bytes = _size_of(source)
    with image_session(run) as session, showing_progress(run, progress, str(target)) as update:
        size_bytes = _import(session, source, target, size_bytes, wanted, base, update, verify=verify)
    done = f"{target}: imported from {'standard input' if file == '-' else file} ({format_size(size_bytes)})"
    lines = [done + (", verified" if verify else "")]
    if base:
        lines.append(f"{target}@{base}: created, protected")
    data = {
        "image": str(target),
        "size_bytes": size_bytes,
        "verified": verify,
        "snapshot": f"{target}@{base}" if base else None,
    }
    run.answer(data, lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """What is imported; `file_format` is empty where it is to be what it looks like."""

    file: str
    file_format: str

    @property
    def identity(self) -> str:
        """What is the same as long as the file is: its path, size and time, and how it is read."""
        stat = os.stat(self.file)
        return f"{os.path.realpath(self.file)} {stat.st_size} {stat.st_mtime_ns} {self.file_format}"


def _size_of(source: _Source) -> int:
    """Return the virtual size of a file, 0 of standard input. Raises SpecError, UsageError, DeniedError."""
    from virtrbd.host.qemu_img import file_size

    file = source.file
    if file == "-":
        if source.file_format not in ("", "raw"):
            raise UsageError(f"standard input is read as raw data, never as {source.file_format}; name a file")
        if sys.stdin.isatty():
            raise UsageError("standard input is a terminal; pipe raw data into it, or name a file")
        return 0
    path = Path(file)
    if not path.exists():
        raise SpecError(f"{file}: no such file; check the path")
    if path.is_dir():
        raise SpecError(f"{file}: is a folder; name the file in it")
    if not os.access(file, os.R_OK):
        raise DeniedError(f"{file}: permission denied")
    size_bytes = file_size(file, source.file_format)
    if size_bytes is None:
        raise SpecError(f"{file}: qemu-img can't read it{_as(source)}; see what is wrong with qemu-img info {file}")
    if not size_bytes:
        raise SpecError(f"{file}: is empty; there is nothing to import")
    return size_bytes


def _import(
    session: Session,
    source: _Source,
    ref: ImageRef,
    size_bytes: int,
    layout: ImageLayout,
    base: str,
    update: object,
    *,
    verify: bool,
) -> int:
    """Import, and return the size of the image."""
    from virtrbd.host.by_hand import fill_by_hand
    from virtrbd.host.stdin import import_stdin, imported_size
    from virtrbd.host.transfer import import_file
    from virtrbd.host.transfer import verify as compare

    host = session.with_progress(update)  # type: ignore[arg-type]
    file, file_format = source.file, source.file_format

    def fill(target: ImageRef) -> None:
        if file == "-":
            import_stdin(host, target, layout.data_pool, check=verify)
            return
        import_file(host, file, size_bytes, target, layout.data_pool, file_format)
        if verify:
            compare(host, file, target, size_bytes, file_format)

    what = "" if file == "-" else f"{source.identity} base={base} verify={verify}"
    fill_by_hand(host, ref, size_bytes, fill, layout, base=base, what=what)
    return imported_size(host, ref) if file == "-" else size_bytes


def _as(source: _Source) -> str:
    return f" as {source.file_format}" if source.file_format else ""


@image.command(name="export")
@IMAGE
@click.argument("file", type=click.Path())
@click.option("--format", "file_format", type=click.Choice(["raw", "qcow2"]), default="raw", show_default=True)
@VERIFY
@PROGRESS
@with_global_options
def export_image(run: Run, ref: ImageRef, file: str, file_format: str, verify: bool, progress: str) -> None:
    """Export an image or a snapshot into a new FILE."""
    from virtrbd.host.transfer import export_image as export

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
@click.argument("ref", metavar="NEW_IMAGE", type=IMAGE_TYPE)
@LAYOUT
@PROGRESS
@with_global_options
def copy(run: Run, source: ImageRef, ref: ImageRef, progress: str, **layout: str) -> None:
    """Copy an image or a snapshot into a new image, which shares nothing with it."""
    from virtrbd.host.by_hand import fill_by_hand
    from virtrbd.host.transfer import copy_image

    require_plain(ref)
    wanted = layout_of(layout)
    with image_session(run) as session, showing_progress(run, progress, str(ref)) as update:
        found = _source(session, source)
        host = session.with_progress(update)
        fill = partial(copy_image, host, source, found.size_bytes, data_pool=wanted.data_pool)
        fill_by_hand(host, ref, found.size_bytes, fill, wanted, word="copying", what=f"{source} {found.image_id}")
    run.answer(
        {"image": str(ref), "source": str(source), "size_bytes": found.size_bytes},
        [f"{ref}: copied from {source} ({format_size(found.size_bytes)})"],
    )


def _source(session: Session, ref: ImageRef) -> Image:
    """Return what is to be read. Raises ClusterError when it is not there, or not ready."""
    from virtrbd.ceph.images import read_image
    from virtrbd.host.requiring import not_ready, require_image

    found = read_image(session.host.cluster, ref)
    if found is None:
        image = require_image(session.host, ref)
        raise ClusterError(f"snapshot {ref} does not exist; {ref.image} has {', '.join(image.snapshots) or 'none'}")
    if found.state:
        raise not_ready(found)
    if found.watchers and not ref.snapshot:
        who = ", ".join(map(str, found.watchers))
        session.host.say(
            f"image {ref} is open by {who}: what is read of it is of no single moment; make a snapshot, and name that"
        )
    return found
