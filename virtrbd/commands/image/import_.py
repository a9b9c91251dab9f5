"""The verb `image import`: data from a file, a URL or a pipe becomes an image."""

from __future__ import annotations

import sys
from contextlib import ExitStack

import click
from msgspec import Struct

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.images import NEW_IMAGE, VERIFY
from virtrbd.commands.options.layout import LAYOUT, layout_of
from virtrbd.commands.options.progress import PROGRESS
from virtrbd.errors import UsageError
from virtrbd.lazily import lazily
from virtrbd.qemu.formats import DISC, FORMATS

with lazily():
    from virtrbd.commands.connected.intents import ALREADY_THERE, until_answered
    from virtrbd.commands.output.progress import showing_progress
    from virtrbd.images.import_source import ImportWork, open_import
    from virtrbd.images.source_check import looking_for_damage
    from virtrbd.local.state_dir import StateDir
    from virtrbd.model.checksum import is_checksum, parse_checksum
    from virtrbd.model.image import ImageLayout, ImageRef
    from virtrbd.model.import_file import ImportFile, require_fetchable
    from virtrbd.model.names import check_new_name
    from virtrbd.model.size import format_size


# The default snapshot of a base.
_BASE = "base"


@verb
@click.argument("file", type=click.Path())
@NEW_IMAGE
@click.option(
    "--format",
    "file_format",
    type=click.Choice([*FORMATS, DISC]),
    default=None,
    help="Format of the disk; default: by its bytes, raw for a block device. raw takes any bytes as they are.",
)
@click.option("--member", default="", help="The disk in an OVA or tar archive that has several.")
@click.option(
    "--checksum",
    default="",
    help="Checksum of FILE: sha256:HEX, or the file or https URL of a list like SHA256SUMS.",
)
@click.option(
    "--repair-copy", is_flag=True, help="Import a repaired copy of a qcow2 that a crash left open; FILE stays as it is."
)
@click.option("--as-base", is_flag=True, help="Also make the protected snapshot @NAME (or @base) to clone from.")
@VERIFY
@LAYOUT
@PROGRESS
def import_image(
    run: Run,
    *,
    file: str,
    ref: ImageRef,
    file_format: str | None,
    member: str,
    checksum: str,
    repair_copy: bool,
    as_base: bool,
    verify: bool,
    progress: str,
    **layout: str,
) -> None:
    """Import FILE into a new image.

    FILE is raw, qcow2, vdi, vhdx, vmdk or vpc, packed by gzip, xz, zstd or bzip2 or in an OVA, or a block device; its
    https URL; or - for raw data from a pipe.
    """
    if ref.snapshot and not as_base:
        raise UsageError(f"{ref} is a snapshot; import into {ref.image}, or write --as-base")
    target, base = ref.image, (ref.snapshot or _BASE) if as_base else ""
    _require_new(target)
    wanted = layout_of(layout)
    wanted_file = ImportFile(name=file, format=file_format or "", member=member, checksum=checksum)
    _require_sense(wanted_file)
    job = _Job(file=wanted_file, repair_copy=repair_copy, target=target, layout=wanted, base=base, verify=verify)
    done = _import_stdin(run, job, progress) if file == "-" else _import_file(run, job, progress)
    words = ALREADY_THERE if done.was_there else ""
    where = "standard input" if file == "-" else str(wanted_file)
    line = f"{target}: {words}imported from {where} ({format_size(done.size_bytes)})"
    lines = [line + (", verified" if verify else "")]
    if base:
        lines.append(f"{target}@{base}: created, protected")
    data = {
        "image": str(target),
        "size_bytes": done.size_bytes,
        "verified": verify,
        "checksum": done.checksum or None,
        "snapshot": f"{target}@{base}" if base else None,
    }
    with until_answered(done.state, target):
        run.answer_change(data, lines, changed=not done.was_there)


class _Job(Struct, frozen=True, kw_only=True):
    """The source and the target of the import."""

    file: ImportFile
    repair_copy: bool
    target: ImageRef
    layout: ImageLayout
    base: str
    verify: bool


class _Done(Struct, frozen=True, kw_only=True):
    """The size of the image, whether an earlier run had made it, and the intent, kept until the answer is out."""

    size_bytes: int
    was_there: bool
    state: StateDir
    checksum: str = ""


def _require_new(target: ImageRef) -> None:
    """Raise UsageError for a name that a new image may not have: the parser checks only the snapshot's of both."""
    try:
        check_new_name(target.name)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _require_sense(file: ImportFile) -> None:
    """Raise UsageError for options that contradict each other, or make no sense."""
    try:
        if file.checksum and is_checksum(file.checksum):
            parse_checksum(file.checksum)
        if file.is_url:
            require_fetchable(file.name, file.checksum)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if file.name == "-" and (file.member or file.checksum):
        raise UsageError("standard input is raw data, without members or a checksum; name a file")
    if file.member and file.format == "raw":
        raise UsageError("--format raw takes the archive itself as the disk; leave out --format or --member")


def _import_file(run: Run, job: _Job, progress: str) -> _Done:
    """Import a file."""
    with ExitStack() as stack:
        with showing_progress(run, progress, str(job.file)) as getting_ready:
            work = ImportWork(settings=run.settings(), say=run.say, progress=getting_ready)
            source = stack.enter_context(open_import(job.file, work))
            if job.repair_copy and source.look.is_dirty:
                from virtrbd.images.repaired_copy import repaired_copy

                source = repaired_copy(stack, source, run.settings().imports)
        require_whole = stack.enter_context(looking_for_damage(source))
        # Ceph's bindings take as long to import as qemu-img to answer.
        from virtrbd.commands.connected.host import connected_for_images
        from virtrbd.images.resume import fill_by_hand
        from virtrbd.images.transfer import import_file, verify

        # The same for the same work on the same file.
        what = f"{source.file.identity} {source.look.format} base={job.base} verify={job.verify}"
        with connected_for_images(run) as host, showing_progress(run, progress, str(job.target)) as update:
            host = host.with_progress(update)

            def fill(target: ImageRef) -> None:
                import_file(host, source, target, job.layout.data_pool)
                if job.verify:
                    verify(host, source, target)

            require_whole()
            was_there = fill_by_hand(host, job.target, source.size_bytes, fill, job.layout, base=job.base, what=what)
        return _Done(size_bytes=source.size_bytes, was_there=was_there, state=host.state, checksum=source.file.checksum)


def _import_stdin(run: Run, job: _Job, progress: str) -> _Done:
    """Import raw data from standard input."""
    from virtrbd.commands.connected.host import connected_for_images
    from virtrbd.images.resume import fill_by_hand
    from virtrbd.images.stdin import import_stdin, imported_size

    if job.file.format not in ("", "raw"):
        raise UsageError(f"standard input is read as raw data, never as {job.file.format}; name a file")
    if sys.stdin.isatty():
        raise UsageError("standard input is a terminal; pipe raw data into it, or name a file")
    with connected_for_images(run) as host, showing_progress(run, progress, str(job.target)) as update:
        host = host.with_progress(update)

        def fill(target: ImageRef) -> None:
            is_surely_raw = job.file.format == "raw"
            import_stdin(host, target, job.layout.data_pool, is_surely_raw=is_surely_raw, check=job.verify)

        fill_by_hand(host, job.target, 0, fill, job.layout, base=job.base, what="")
        return _Done(size_bytes=imported_size(host, job.target), was_there=False, state=host.state)
