"""The tree of images, as text and as data."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from virtrbd.commands.output.info import exact_size_of, iso_time
from virtrbd.commands.output.table import table
from virtrbd.model.family import FamilyImage, FamilySnapshot
from virtrbd.model.image_details import SnapshotKind
from virtrbd.model.size import format_size
from virtrbd.planning.flattens import Flatten
from virtrbd.planning.image_tree import ImageNode, SnapshotNode
from virtrbd.printable import shell_command

_TITLES = ("image", "size", "adds", "depth", "used by", "state")
# Lines between parents and children, and blanks instead of these for files, mails and grep.
_BRANCH, _LAST, _PASS, _NOTHING = "├─ ", "└─ ", "│  ", "   "
_BLANKS = {_BRANCH: "  ", _LAST: "  ", _PASS: "  ", _NOTHING: "  "}
Row = tuple[str, ...]


def tree_lines(roots: Sequence[ImageNode], *, drawn: bool) -> list[str]:
    """Return the table whose first column is the tree, with lines where it is `drawn`, else indented."""
    rows = [row for root in roots for row in _image_rows(root, "", "", drawn)]
    return table(_TITLES, rows) if rows else []


def _image_rows(node: ImageNode, head: str, indent: str, drawn: bool) -> Iterator[Row]:
    image = node.image
    size = "-" if image.size_bytes is None else exact_size_of(image.size_bytes)
    used_by = "?" if node.domains is None else ", ".join(node.domains) or "-"
    yield (f"{head}{image.ref}", size, _adds(image.used_bytes), str(node.depth), used_by, image_state(node))
    with_clones = [each for each in node.snapshots if each.clones or each.elsewhere]
    others = [each.snapshot for each in node.snapshots if not (each.clones or each.elsewhere)]
    for at, each in enumerate(with_clones):
        is_last = at == len(with_clones) - 1 and not others
        yield from _snapshot_rows(each, indent, is_last, drawn)
    if others:
        what = "1 snapshot" if len(others) == 1 else f"{len(others)} snapshots"
        known = [each.used_bytes for each in others if each.used_bytes is not None]
        adds = format_size(sum(known)) if len(known) == len(others) else "unknown"
        yield (f"{indent}{_guide(_LAST, drawn)}{what} without clones", "", adds, "", "", "")


def _snapshot_rows(node: SnapshotNode, indent: str, is_last: bool, drawn: bool) -> Iterator[Row]:
    snapshot = node.snapshot
    head = f"{indent}{_guide(_LAST if is_last else _BRANCH, drawn)}@{snapshot.label}"
    size = format_size(snapshot.size_bytes) if snapshot.size_bytes else "-"
    yield (head, size, _adds(snapshot.used_bytes), "", "", snapshot_state(snapshot))
    indent += _guide(_NOTHING if is_last else _PASS, drawn)
    for at, clone in enumerate(node.clones):
        is_end = at == len(node.clones) - 1 and not node.elsewhere
        guide, below = (_LAST, _NOTHING) if is_end else (_BRANCH, _PASS)
        yield from _image_rows(clone, indent + _guide(guide, drawn), indent + _guide(below, drawn), drawn)
    if node.elsewhere:
        what = "1 clone" if node.elsewhere == 1 else f"{node.elsewhere} clones"
        yield (f"{indent}{_guide(_LAST, drawn)}{what} elsewhere", "", "", "", "", "")


def _guide(guide: str, drawn: bool) -> str:
    return guide if drawn else _BLANKS[guide]


def _adds(used_bytes: int | None) -> str:
    return "unknown" if used_bytes is None else format_size(used_bytes)


def image_state(node: ImageNode) -> str:
    """Return what is special about an image, "ready" for nothing."""
    image = node.image
    words = [node.note] if node.note else []
    words += [f"cannot be read: {image.failure.text}"] if image.failure else []
    words += ["in the trash"] if image.expires_at is not None else []
    words += [str(image.state)] if image.state else []
    return "; ".join(words) or "ready"


def snapshot_state(snapshot: FamilySnapshot) -> str:
    """Return what is special about a snapshot."""
    if snapshot.kind is SnapshotKind.UNKNOWN:
        return "not known"
    words = [] if snapshot.kind is SnapshotKind.USER else [f"{snapshot.kind} snapshot"]
    return "; ".join([*words, *(["protected"] if snapshot.is_protected else [])])


def flatten_command(flatten: Flatten) -> str:
    """Return the command that flattens the clone."""
    return shell_command("virtrbd image flatten", flatten.ref)


def flatten_lines(flattens: Iterable[Flatten]) -> list[str]:
    """Return a line for each clone to flatten: why, what it copies and frees, and the command."""
    return [
        f"{each.ref}: {flatten_reason(each)}: `{flatten_command(each)}` copies up to {format_size(each.copies_bytes)}"
        f"{_freed(each)}"
        for each in flattens
    ]


def flatten_reason(flatten: Flatten) -> str:
    """Return why a flatten helps."""
    return f"{flatten.reason} (depth {flatten.depth}, parent {flatten.parent})"


def _freed(flatten: Flatten) -> str:
    return "" if flatten.frees_bytes is None else f", and then up to {format_size(flatten.frees_bytes)} can be freed"


def tree_data(roots: Iterable[ImageNode]) -> list[dict[str, Any]]:
    """Return the tree for programs: clones nest in snapshots, snapshots in images. Sizes in bytes, times in UTC."""
    return [_image_data(root) for root in roots]


def _image_data(node: ImageNode) -> dict[str, Any]:
    image = node.image
    return {
        "name": str(image.ref),
        "id": image_id_of(image),
        "size_bytes": image.size_bytes,
        "used_bytes": image.used_bytes,
        "total_used_bytes": image.total_bytes,
        "overlap_bytes": image.parent.overlap_bytes if image.parent else None,
        "depth": node.depth,
        "listed": image.is_listed,
        "in_trash": image.expires_at is not None,
        "expires": iso_time(image.expires_at) if image.expires_at else None,
        "created": iso_time(image.created_at) if image.created_at else None,
        "state": None if image.failure else str(image.state or "ready"),
        "error": image.failure.text if image.failure else None,
        "note": node.note or None,
        "domains": None if node.domains is None else list(node.domains),
        "snapshots": [_snapshot_data(each) for each in node.snapshots],
    }


def image_id_of(image: FamilyImage) -> str | None:
    """Return its id; of the oldest format an image has none."""
    return None if image.key.image_id.startswith("/") else image.key.image_id


def _snapshot_data(node: SnapshotNode) -> dict[str, Any]:
    snapshot = node.snapshot
    return {
        "name": snapshot.label,
        "id": snapshot.snapshot_id,
        "kind": snapshot.kind.value,
        "size_bytes": snapshot.size_bytes,
        "used_bytes": snapshot.used_bytes,
        "protected": snapshot.is_protected,
        "created": iso_time(snapshot.created_at) if snapshot.created_at else None,
        "clones": [_image_data(clone) for clone in node.clones],
        "clones_elsewhere": node.elsewhere,
    }


def flatten_data(flattens: Iterable[Flatten]) -> list[dict[str, Any]]:
    """Return the clones to flatten for programs."""
    return [
        {
            "image": str(each.ref),
            "reason": each.reason.value,
            "parent": str(each.parent),
            "depth": each.depth,
            "copies_bytes": each.copies_bytes,
            "frees_bytes": each.frees_bytes,
            "command": flatten_command(each),
        }
        for each in flattens
    ]
