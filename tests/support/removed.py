"""A pure model of an image with its snapshots and clones: what an action of a removal makes of it.

It refuses what RBD refuses. A live test holds it against the lab, as it does simulate.py, the model of a whole host.
"""

from collections.abc import Iterator
from typing import assert_never

from virtrbd.model.image_details import ImageDetails, Snapshot, SnapshotKind
from virtrbd.model.record import replace
from virtrbd.model.removal_actions import (
    FlattenClone,
    RemovalAction,
    RemoveImage,
    RemoveSnapshot,
    TrashImage,
    UnprotectSnapshot,
)


def simulate_removal(action: RemovalAction, known: ImageDetails) -> ImageDetails | None:
    """Return the image after the action, None where it no longer has its name."""
    match action:
        case FlattenClone():
            parted = (_without_clone(each, action) for each in known.snapshots)
            # A snapshot in the trash is there for its clones only.
            left = [new for old, new in zip(known.snapshots, parted, strict=True) if not _is_over(old, new)]
            return replace(known, snapshots=tuple(left))
        case UnprotectSnapshot():
            found = _snapshot_of(action, known)
            assert found.protected, "rbd refuses what is not protected"
            assert not found.children, "rbd refuses while there are clones"
            left = [replace(each, protected=False) if each == found else each for each in known.snapshots]
            return replace(known, snapshots=tuple(left))
        case RemoveSnapshot():
            found = _snapshot_of(action, known)
            assert not found.protected, "rbd refuses a protected snapshot"
            assert not found.children, "with clones it would only move to the trash"
            return replace(known, snapshots=tuple(each for each in known.snapshots if each != found))
        case TrashImage():
            return None
        case RemoveImage():
            # librbd removes what an interrupted removal left in the trash of snapshots.
            left = [each for each in known.snapshots if each.kind is not SnapshotKind.TRASH or each.children]
            assert left == [], "rbd refuses an image with snapshots"
            return None
        case _:
            assert_never(action)


def cut_off_removals(action: RemovalAction, known: ImageDetails) -> Iterator[ImageDetails]:
    """Yield what a kill -9 during the action can leave, its beginning included, its end not."""
    yield known
    if isinstance(action, RemoveSnapshot):
        # librbd moves it to the trash of snapshots first.
        found = _snapshot_of(action, known)
        trashed = replace(found, kind=SnapshotKind.TRASH, name=f"trash of {found.label}")
        yield replace(known, snapshots=tuple(trashed if each == found else each for each in known.snapshots))


def _without_clone(snapshot: Snapshot, action: FlattenClone) -> Snapshot:
    return replace(snapshot, children=tuple(each for each in snapshot.children if each != action.child))


def _is_over(before: Snapshot, after: Snapshot) -> bool:
    return before.kind is SnapshotKind.TRASH and bool(before.children) and not after.children


def _snapshot_of(action: UnprotectSnapshot | RemoveSnapshot, known: ImageDetails) -> Snapshot:
    assert action.image_id == known.image.image_id
    if isinstance(action, RemoveSnapshot) and action.snapshot_id:
        [found] = [each for each in known.snapshots if each.snapshot_id == action.snapshot_id]
    else:
        [found] = [each for each in known.snapshots if each.name == action.ref.snapshot]
    return found
