"""The verb that brings data into an image: import."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from virtrbd.commands.app import Run, with_global_options
from virtrbd.commands.image_session import IMAGE, VERIFY, image_session
from virtrbd.commands.images import image
from virtrbd.commands.layout import LAYOUT, layout_of
from virtrbd.commands.progress import PROGRESS, showing_progress
from virtrbd.errors import DeniedError, SpecError, UsageError
from virtrbd.model.image import ImageLayout, ImageRef
from virtrbd.model.size import format_size
from virtrbd.printable import shell_command

# The snapshot of a base where none is named.
_BASE = "base"
# Those of qemu-img's that people keep disks in.
_FORMATS = ("raw", "qcow2", "vdi", "vhdx", "vmdk", "vpc")


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
    job = _Job(file=file, file_format=file_format or "", target=target, layout=wanted, base=base, verify=verify)
    size_bytes = _import_stdin(run, job, progress) if file == "-" else _import_file(run, job, progress)
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
class _Job:
    """What is imported, and into what; `file_format` is empty where the file is to be what it looks like."""

    file: str
    file_format: str
    target: ImageRef
    layout: ImageLayout
    base: str
    verify: bool

    @property
    def what(self) -> str:
        """What is the same for the same work on the same file: its path, size and time, and what becomes of it."""
        stat = os.stat(self.file)
        file = f"{os.path.realpath(self.file)} {stat.st_size} {stat.st_mtime_ns} {self.file_format}"
        return f"{file} base={self.base} verify={self.verify}"


def _import_file(run: Run, job: _Job, progress: str) -> int:
    """Import a file, and return the size of the image."""
    from virtrbd.host.source_file import looking_for_damage, looking_for_size

    _require_readable(job.file)
    asked = job.file, job.file_format
    with looking_for_size(*asked) as size, looking_for_damage(*asked) as require_whole:
        # Ceph's bindings take as long to import as qemu-img to answer.
        from virtrbd.host.by_hand import fill_by_hand
        from virtrbd.host.transfer import import_file, verify

        size_bytes = _size_of(job, size)
        with image_session(run) as session, showing_progress(run, progress, str(job.target)) as update:
            host = session.with_progress(update)

            def fill(target: ImageRef) -> None:
                import_file(host, job.file, size_bytes, target, job.layout.data_pool, job.file_format)
                if job.verify:
                    verify(host, job.file, target, size_bytes, job.file_format)

            require_whole()
            fill_by_hand(host, job.target, size_bytes, fill, job.layout, base=job.base, what=job.what)
    return size_bytes


def _require_readable(file: str) -> None:
    path = Path(file)
    if not path.exists():
        raise SpecError(f"{file}: no such file; check the path")
    if path.is_dir():
        raise SpecError(f"{file}: is a folder; name the file in it")
    if not os.access(file, os.R_OK):
        raise DeniedError(f"{file}: permission denied")


def _size_of(job: _Job, size: Callable[[], int | None]) -> int:
    size_bytes = size()
    if size_bytes is None:
        as_what = f" as {job.file_format}" if job.file_format else ""
        raise SpecError(
            f"{job.file}: qemu-img can't read it{as_what}; see what is wrong with "
            f"{shell_command('qemu-img info', job.file)}"
        )
    if not size_bytes:
        raise SpecError(f"{job.file}: is empty; there is nothing to import")
    return size_bytes


def _import_stdin(run: Run, job: _Job, progress: str) -> int:
    """Import raw data from standard input, and return the size of the image."""
    from virtrbd.host.by_hand import fill_by_hand
    from virtrbd.host.stdin import import_stdin, imported_size

    if job.file_format not in ("", "raw"):
        raise UsageError(f"standard input is read as raw data, never as {job.file_format}; name a file")
    if sys.stdin.isatty():
        raise UsageError("standard input is a terminal; pipe raw data into it, or name a file")
    with image_session(run) as session, showing_progress(run, progress, str(job.target)) as update:
        host = session.with_progress(update)

        def fill(target: ImageRef) -> None:
            import_stdin(host, target, job.layout.data_pool, check=job.verify)

        fill_by_hand(host, job.target, 0, fill, job.layout, base=job.base, what="")
        return imported_size(host, job.target)
