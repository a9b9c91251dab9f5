"""The verbs about snapshots of images, and about what grows from them: clones."""

import click

from virtrbd.commands.app import ALLOW, Run, with_global_options
from virtrbd.commands.image_session import (
    ALREADY_THERE,
    IMAGE,
    IMAGE_TYPE,
    NEW_IMAGE_TYPE,
    NEW_SNAPSHOT,
    SNAPSHOT,
    Session,
    image_session,
    require_plain,
    require_snapshot,
)
from virtrbd.commands.images import image
from virtrbd.commands.progress import PROGRESS, showing_progress
from virtrbd.commands.verbs import Verbs
from virtrbd.errors import UsageError
from virtrbd.model.image import ImageRef
from virtrbd.printable import shell_command

_VERBS = {
    "Commands": dict.fromkeys(("create", "list", "protect", "rollback"), "image_snapshots")
    | {"remove": "image_removal"}
}


@image.group(cls=Verbs, verbs=_VERBS)
def snapshot() -> None:
    """Snapshots of images, named pool[/namespace]/image@snapshot."""


@snapshot.command(name="create")
@NEW_SNAPSHOT
@click.option("--protect", is_flag=True, help="Protect it, which clones need unless the cluster makes clones v2.")
@ALLOW
@with_global_options
def create_snapshot(run: Run, ref: ImageRef, protect: bool, allow: tuple[str, ...]) -> None:
    """Create the snapshot; one that exists is left as it is."""
    from virtrbd.ceph.snapshots import create_snapshot as create
    from virtrbd.commands.pipeline import parse_allowed
    from virtrbd.images.change import require_ready

    require_snapshot(ref)
    allowed = parse_allowed(allow)
    with image_session(run) as session, session.host.state.locked([str(ref.image)], "image snapshot create"):
        require_ready(session.host, ref, allowed, session.require_owner)
        created = create(session.host.cluster, ref.image, ref.snapshot, protect=protect)
    word = "created" if created else "exists already"
    run.answer_change({"snapshot": str(ref)}, [f"{ref}: {word}{', protected' if protect else ''}"], changed=created)


@snapshot.command(name="list")
@IMAGE
@with_global_options
def list_snapshots(run: Run, ref: ImageRef) -> None:
    """List the snapshots of an image.

    Those of groups, mirrors and the trash are listed too.
    """
    from virtrbd.ceph.details import read_details
    from virtrbd.ceph.trash import missing_image_error
    from virtrbd.commands.image_info import snapshot_data, snapshot_lines

    require_plain(ref)
    with image_session(run) as session:
        details = read_details(session.host.cluster, ref)
        if details is None:
            raise missing_image_error(session.host.cluster, ref)
    lines = snapshot_lines(details.snapshots) if details.snapshots else ["no snapshots"]
    run.answer({"image": str(ref), "snapshots": [snapshot_data(each) for each in details.snapshots]}, lines)


@snapshot.command()
@SNAPSHOT
@ALLOW
@with_global_options
def protect(run: Run, ref: ImageRef, allow: tuple[str, ...]) -> None:
    """Protect a snapshot from removal; clones v1 need that."""
    from virtrbd.ceph.snapshots import protect_snapshot
    from virtrbd.commands.pipeline import parse_allowed
    from virtrbd.images.change import require_ready

    require_snapshot(ref)
    allowed = parse_allowed(allow)
    with image_session(run) as session, session.host.state.locked([str(ref.image)], "image snapshot protect"):
        require_ready(session.host, ref, allowed, session.require_owner)
        changed = protect_snapshot(session.host.cluster, ref)
    run.answer_change({"snapshot": str(ref)}, [f"{ref}: {'protected' if changed else 'is protected'}"], changed=changed)


@snapshot.command()
@SNAPSHOT
@ALLOW
@with_global_options
def rollback(run: Run, ref: ImageRef, allow: tuple[str, ...]) -> None:
    """Make an image what it was at a snapshot.

    Cut off, run it again: no domain starts on the image before.
    """
    from virtrbd.commands.pipeline import parse_allowed
    from virtrbd.images.change import roll_back

    require_snapshot(ref)
    allowed = parse_allowed(allow)
    with image_session(run) as session, session.host.state.locked([str(ref.image)], "image snapshot rollback"):
        roll_back(session.host, session.known_uses(ref, allowed), ref, allowed)
    run.answer({"image": str(ref.image), "snapshot": str(ref)}, [f"{ref.image}: rolled back to {ref}"])


@image.command()
@click.argument("parent", metavar="IMAGE@SNAPSHOT", type=IMAGE_TYPE)
@click.argument("refs", metavar="NEW_IMAGE...", type=NEW_IMAGE_TYPE, nargs=-1, required=True)
@with_global_options
def clone(run: Run, parent: ImageRef, refs: tuple[ImageRef, ...]) -> None:
    """Clone a snapshot, as often as names are given.

    Cut off, run it again: it makes those that are missing.
    """
    from virtrbd.images.clone import clone_by_hand

    require_snapshot(parent)
    for ref in refs:
        require_plain(ref)
    if len(set(refs)) < len(refs):
        raise UsageError("the same name twice; give each clone its own")
    with image_session(run) as session:
        there = clone_by_hand(session.host, parent, refs)
        _advise_flatten(session, refs[0])
    data = {
        "parent": str(parent),
        "images": [str(ref) for ref in refs],
        "already_there": [str(ref) for ref in there],
    }
    lines = [f"{ref}: {ALREADY_THERE if ref in there else ''}cloned from {parent}" for ref in refs]
    run.answer_change(data, lines, changed=len(there) < len(refs))


def _advise_flatten(session: Session, ref: ImageRef) -> None:
    from virtrbd.ceph.details import read_parents

    depth, limit = len(read_parents(session.host.cluster, ref)), session.host.settings.ceph.clone_depth
    if depth > limit:
        session.host.say(
            f"{ref}: {depth} images deep, over the limit of {limit}: each read may go through all of them; "
            f"{shell_command('virtrbd image flatten', ref)} parts it from them"
        )


@image.command()
@IMAGE
@PROGRESS
@ALLOW
@with_global_options
def flatten(run: Run, ref: ImageRef, progress: str, allow: tuple[str, ...]) -> None:
    """Copy into a clone what it shares with its parent.

    Afterwards the two are independent of each other.
    """
    from virtrbd.commands.pipeline import parse_allowed
    from virtrbd.images.change import flatten as part
    from virtrbd.images.change import require_ready

    require_plain(ref)
    allowed = parse_allowed(allow)
    with (
        image_session(run) as session,
        showing_progress(run, progress, str(ref)) as update,
        session.host.state.locked([str(ref)], "image flatten"),
    ):
        require_ready(session.host, ref, allowed, session.require_owner)
        changed = part(session.with_progress(update), ref)
    line = f"{ref}: flattened" if changed else f"{ref}: has no parent"
    run.answer_change({"image": str(ref)}, [line], changed=changed)
