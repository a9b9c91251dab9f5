"""The verbs about images: import, info, snapshot create."""

import sys
from collections.abc import Callable

import click

from virtrbd.commands.app import Run, app, with_global_options
from virtrbd.errors import ClusterError, SpecError, UsageError
from virtrbd.model.image import Image, ImageRef
from virtrbd.model.size import format_size


class _ImageType(click.ParamType[ImageRef]):
    name = "image"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> ImageRef:
        try:
            return ImageRef.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


IMAGE = click.argument("ref", metavar="IMAGE", type=_ImageType())


@app.group()
def image() -> None:
    """Images in RBD, named pool[/namespace]/image[@snapshot]."""


@image.group()
def snapshot() -> None:
    """Snapshots of images."""


@image.command(name="import")
@click.argument("file", type=click.Path())
@IMAGE
@with_global_options
def import_image(run: Run, file: str, ref: ImageRef) -> None:
    """Import an image FILE of any format that qemu-img reads into a new image."""
    from virtrbd.host.cluster import Cluster
    from virtrbd.host.importing import import_into
    from virtrbd.host.state import StateDir
    from virtrbd.host.transfer import file_size

    if ref.snapshot:
        raise UsageError(f"{ref} is a snapshot; import into pool/image, then make the snapshot")
    settings = run.settings()
    size_bytes = file_size(file)
    if not size_bytes:
        raise SpecError(f"{file}: no file that qemu-img can read; check the path")
    state = StateDir(settings.state_dir)
    with Cluster.connect(settings) as cluster, state.locked([str(ref)], "image import"):
        import_into(cluster, state, settings, file, ref, size_bytes, _progress(run), run.say)
    run.answer(
        {"image": str(ref), "size_bytes": size_bytes}, [f"{ref}: imported from {file} ({format_size(size_bytes)})"]
    )


def _progress(run: Run) -> Callable[[float], None]:
    """Return what shows progress: a line that is rewritten, on a terminal only."""
    if run.quiet or run.is_json or not sys.stderr.isatty():
        return lambda _percent: None
    return lambda percent: click.echo(f"\r{percent:5.1f} %", err=True, nl=percent >= 100)


@image.command()
@IMAGE
@with_global_options
def info(run: Run, ref: ImageRef) -> None:
    """Show an image: size, allocated bytes, parent, watchers, owner."""
    from virtrbd.host.cluster import Cluster

    with Cluster.connect(run.settings()) as cluster:
        found = cluster.image(ref, usage=True)
    if found is None:
        raise ClusterError(f"image {ref} does not exist; check the name")
    data = _as_data(found)
    width = max(map(len, data))
    run.answer({"image": data}, [f"{key.ljust(width)}  {value}" for key, value in _as_text(found).items()])


@snapshot.command(name="create")
@IMAGE
@click.option("--protect", is_flag=True, help="Protect it, which clones need unless the cluster makes clones v2.")
@with_global_options
def create_snapshot(run: Run, ref: ImageRef, protect: bool) -> None:
    """Create the snapshot pool/image@SNAPSHOT; one that exists is left as it is."""
    from virtrbd.host.cluster import Cluster

    if not ref.snapshot:
        raise UsageError(f"{ref} names no snapshot; write {ref}@NAME")
    with Cluster.connect(run.settings()) as cluster:
        created = cluster.snapshot(ref, protect=protect)
    word = "created" if created else "exists already"
    run.answer({"snapshot": str(ref), "changed": created}, [f"{ref}: {word}{', protected' if protect else ''}"])


def _as_data(found: Image) -> dict[str, object]:
    return {
        "name": str(found.ref),
        "id": found.image_id,
        "size_bytes": found.size_bytes,
        "allocated_bytes": found.allocated_bytes,
        "object_bytes": found.object_bytes,
        "features": list(found.features),
        "parent": str(found.parent) if found.parent else None,
        "snapshots": list(found.snapshots),
        "watchers": [str(watcher) for watcher in found.watchers],
        "owner": found.mark.domain_uuid if found.mark else None,
        "state": found.state or "ready",
    }


def _as_text(found: Image) -> dict[str, object]:
    data = _as_data(found)
    for key in ("size_bytes", "allocated_bytes", "object_bytes"):
        value = data[key]
        data[key] = format_size(value) if isinstance(value, int) else "unknown (no valid fast-diff)"
    return {
        key.removesuffix("_bytes"): ", ".join(value) or "-" if isinstance(value, list) else value or "-"
        for key, value in data.items()
    }
