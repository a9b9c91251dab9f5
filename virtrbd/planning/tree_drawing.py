"""The rows of a drawing of the tree of images: bounded, so that a thousand images still are one drawing. Pure."""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from itertools import islice

from msgspec import Struct

from virtrbd.model.image import ImageRef
from virtrbd.planning.image_tree import ImageNode, SnapshotNode

_MOST_ROWS = 200
# Clones of one snapshot that have no clones themselves; the others share a row.
_MOST_CLONES = 6
# Deeper rows are drawn at this depth.
_DEEPEST = 14


class Kind(StrEnum):
    IMAGE = "image"
    SNAPSHOT = "snapshot"
    GROUP = "group"


class DrawnRow(Struct, frozen=True, kw_only=True):
    """A row of the drawing. `passing`: the depths at which a line goes on below it."""

    kind: Kind
    depth: int
    label: str
    used_bytes: int | None = None
    domains: tuple[str, ...] = ()
    state: str = ""
    helps: bool = False
    is_last: bool = True
    passing: tuple[int, ...] = ()


def draw(roots: Sequence[ImageNode], to_flatten: frozenset[ImageRef]) -> tuple[DrawnRow, ...]:
    """Return the rows of the families; images without clones share the last row. `to_flatten` are marked."""
    # The largest first: of many the others are left out.
    families = sorted((root for root in roots if _is_family(root)), key=lambda root: -_members(root))
    alone = [root for root in roots if not _is_family(root)]
    everything = (row for root in families for row in _image(root, 0, True, (), to_flatten))
    rows = list(islice(everything, _MOST_ROWS))
    if left := sum(1 for _ in everything):
        rows.append(DrawnRow(kind=Kind.GROUP, depth=0, label=f"{left} more rows; see `virtrbd image tree`"))
    if alone:
        what = "1 image" if len(alone) == 1 else f"{len(alone)} images"
        rows.append(DrawnRow(kind=Kind.GROUP, depth=0, label=f"{what} without clones", used_bytes=_used(alone)))
    return tuple(rows)


def _is_family(node: ImageNode) -> bool:
    return any(snapshot.clones or snapshot.elsewhere for snapshot in node.snapshots)


def _members(node: ImageNode) -> int:
    return 1 + sum(each.elsewhere + sum(map(_members, each.clones)) for each in node.snapshots)


def _used(nodes: Sequence[ImageNode]) -> int:
    return sum(node.image.total_bytes or 0 for node in nodes)


def _image(
    node: ImageNode, depth: int, is_last: bool, passing: tuple[int, ...], to_flatten: frozenset[ImageRef]
) -> Iterator[DrawnRow]:
    image = node.image
    is_trashed = image.expires_at is not None
    words = ("cannot be read" if image.failure else "", "in the trash" if is_trashed else "", str(image.state or ""))
    yield DrawnRow(
        kind=Kind.IMAGE,
        depth=min(depth, _DEEPEST),
        label=str(image.ref),
        used_bytes=image.used_bytes,
        domains=node.domains or (),
        state=next(filter(None, words), ""),
        helps=image.ref in to_flatten and not is_trashed,
        is_last=is_last,
        passing=passing,
    )
    shown = [each for each in node.snapshots if each.clones or each.elsewhere]
    inner = passing if is_last or not depth else (*passing, min(depth, _DEEPEST))
    for at, each in enumerate(shown):
        yield from _snapshot(each, depth + 1, at == len(shown) - 1, inner, to_flatten)


def _snapshot(
    node: SnapshotNode, depth: int, is_last: bool, passing: tuple[int, ...], to_flatten: frozenset[ImageRef]
) -> Iterator[DrawnRow]:
    yield DrawnRow(
        kind=Kind.SNAPSHOT,
        depth=min(depth, _DEEPEST),
        label=f"@{node.snapshot.label}",
        used_bytes=node.snapshot.used_bytes,
        state="" if node.snapshot.kind.value == "user" else f"{node.snapshot.kind} snapshot",
        is_last=is_last,
        passing=passing,
    )
    parents: list[ImageNode] = []
    leaves: list[ImageNode] = []
    for clone in node.clones:
        (parents if _is_family(clone) or clone.image.ref in to_flatten else leaves).append(clone)
    shown, rest = parents + leaves[:_MOST_CLONES], leaves[_MOST_CLONES:]
    below = min(depth + 1, _DEEPEST)
    inner = passing if is_last else (*passing, min(depth, _DEEPEST))
    for at, clone in enumerate(shown):
        is_end = at == len(shown) - 1 and not rest and not node.elsewhere
        yield from _image(clone, depth + 1, is_end, inner, to_flatten)
    if rest:
        yield DrawnRow(
            kind=Kind.GROUP,
            depth=below,
            label=f"{len(rest)} more clones" if len(rest) > 1 else "1 more clone",
            used_bytes=_used(rest),
            is_last=not node.elsewhere,
            passing=inner,
        )
    if node.elsewhere:
        what = "1 clone" if node.elsewhere == 1 else f"{node.elsewhere} clones"
        yield DrawnRow(kind=Kind.GROUP, depth=below, label=f"{what} elsewhere", passing=inner)
