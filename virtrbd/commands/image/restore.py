"""The verb `image restore`: an image comes back from the trash."""

from __future__ import annotations

import click

from virtrbd.commands.frame.run import Run
from virtrbd.commands.frame.verb import verb
from virtrbd.commands.options.allow import ALLOW, parse_allowed
from virtrbd.commands.options.images import IMAGE, require_plain
from virtrbd.errors import ClusterError, UsageError
from virtrbd.lazily import lazily
from virtrbd.printable import quoted, shell_command

with lazily():
    from virtrbd.ceph.trash import list_trash, missing_image_error, restore_image
    from virtrbd.commands.connected.host import connected_for_images
    from virtrbd.commands.connected.removals import require_details
    from virtrbd.images.change import refuse
    from virtrbd.model.image import ImageRef
    from virtrbd.planning.objections import owner_objections


@verb
@IMAGE
@click.option("--id", "image_id", default="", help="Which one, where several of that name are in the trash.")
@click.option("--as", "name", default="", help="Restore it under another name.")
@ALLOW
def restore(run: Run, ref: ImageRef, image_id: str, name: str, allow: tuple[str, ...]) -> None:
    """Bring an image back from the trash."""
    require_plain(ref)
    target = _renamed(ref, name)
    # Under its own name it may just be purged.
    names = sorted({str(ref), str(target)})
    with connected_for_images(run, parse_allowed(allow)) as host, host.state.locked(names, "image restore"):
        found = [
            entry
            for entry in list_trash(host.cluster, ref.pool, ref.namespace)
            if entry.ref == ref and image_id in ("", entry.image_id)
        ]
        if found and all(entry.source != "USER" for entry in found):
            # Only mirroring or a migration may bring back what they moved there.
            raise missing_image_error(host.cluster, ref)
        found = [entry for entry in found if entry.source == "USER"]
        if not found:
            raise ClusterError(
                f"image {ref} is not in the trash; see {shell_command('virtrbd image trash list', ref.pool_spec)}"
            )
        if len(found) > 1:
            ids = ", ".join(entry.image_id for entry in found)
            raise UsageError(f"{ref} is in the trash {len(found)} times; write --id with one of {ids}")
        details = require_details(host, ref, found[0].image_id)
        host.require_owner(details.image)
        refuse(ref, owner_objections(details.image, host.host_uuid), host.allowed)
        restore_image(host.cluster, found[0], target.name)
    run.answer({"image": str(target), "id": found[0].image_id}, [f"{target}: restored"])


def _renamed(ref: ImageRef, name: str) -> ImageRef:
    if not name:
        return ref
    renamed = ImageRef(pool=ref.pool, namespace=ref.namespace, name=name.removeprefix(f"{ref.pool_spec}/"))
    try:
        is_name = ImageRef.parse_new(str(renamed)) == renamed
    except ValueError:
        is_name = False
    if not is_name:
        raise UsageError(
            f"--as: {quoted(name)} cannot be the name of an image in {ref.pool_spec}, where it is restored; write "
            f"one like {ref.name}-old"
        )
    return renamed
