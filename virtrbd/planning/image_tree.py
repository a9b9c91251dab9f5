"""The tree of images: each image, its snapshots, their clones, and the domains that use them. Pure.

Headers may say anything: chains are cut into pieces that nest 32 deep at most, and a loop of parents is shown as one.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from virtrbd.model.family import Families, FamilyImage, FamilySnapshot, ImageKey
from virtrbd.model.image import ImageRef
from virtrbd.model.image_details import SnapshotKind
from virtrbd.model.image_use import DomainUse

# So deep JSON nests that every reader of it still takes; librbd itself reads no chain of more than 16 quickly.
_DEEPEST = 32
_LOOP = "its parents form a loop"


class ImageNode(Struct, frozen=True, kw_only=True):
    """An image in the tree. `depth`: how many ancestors it has; `note`: why it is not below its parent.

    `domains` are this host's that use it, None where that is unknown.
    """

    image: FamilyImage
    depth: int
    domains: tuple[str, ...] | None = None
    snapshots: tuple["SnapshotNode", ...] = ()
    note: str = ""


class SnapshotNode(Struct, frozen=True, kw_only=True):
    """A snapshot in the tree; `elsewhere` counts clones that are not in the tree."""

    snapshot: FamilySnapshot
    clones: tuple[ImageNode, ...] = ()
    elsewhere: int = 0


def make_tree(families: Families, uses: Sequence[DomainUse] | None) -> tuple[ImageNode, ...]:
    """Return the images without a parent, by name, with all others below them; `uses`: None where unknown."""
    builder = _Builder(
        images=families.images,
        clones=_by_parent(families.images.values()),
        names=None if uses is None else names_by_image(uses, families.images.values()),
    )
    waiting = deque(
        (image, 0, "")
        for image in in_order(families.images.values())
        if not image.parent or image.parent.key not in families.images
    )
    in_loops = deque(in_order(families.images.values()))
    roots = []
    while waiting or in_loops:
        image, depth, note = waiting.popleft() if waiting else (in_loops.popleft(), 0, _LOOP)
        if image.key not in builder.reached:
            roots.append(builder.node(image, depth, note, waiting))
    return tuple(roots)


def in_order(images: Iterable[FamilyImage]) -> list[FamilyImage]:
    """Return the images by name; of those in the trash several may have one."""
    return sorted(images, key=lambda image: (image.ref, image.key))


def _by_parent(images: Iterable[FamilyImage]) -> Mapping[ImageKey, list[FamilyImage]]:
    found: dict[ImageKey, list[FamilyImage]] = defaultdict(list)
    for image in in_order(images):
        if image.parent:
            found[image.parent.key].append(image)
    return found


def names_by_image(uses: Sequence[DomainUse], images: Iterable[FamilyImage]) -> Mapping[ImageRef, tuple[str, ...]]:
    """Return the names of the domains by image; a domain that cannot be read may use it (law 14)."""
    found: dict[ImageRef, set[str]] = defaultdict(set)
    for use in uses:
        for ref in use.refs:
            found[ref.image].add(use.name)
        if any(each.text is not None for each in use.unread):
            for image in images:
                if use.may_use(image.ref) and use.name not in found[image.ref]:
                    found[image.ref].add(f"{use.name} (perhaps: it cannot be read)")
    return {ref: tuple(sorted(names)) for ref, names in found.items()}


class _Builder(Struct, kw_only=True):
    """What nodes are made of; `reached` are the images that are in the tree."""

    images: Mapping[ImageKey, FamilyImage]
    clones: Mapping[ImageKey, list[FamilyImage]]
    names: Mapping[ImageRef, tuple[str, ...]] | None
    reached: set[ImageKey] = set()

    def node(
        self, image: FamilyImage, depth: int, note: str, later: "deque[tuple[FamilyImage, int, str]]", nested: int = 0
    ) -> ImageNode:
        """Return the node of an image; clones that would nest too deep come `later`."""
        self.reached.add(image.key)
        clones = [each for each in self.clones.get(image.key, ()) if each.key not in self.reached]
        if nested == _DEEPEST:
            later.extend((each, depth + 1, f"goes on from {image.ref}") for each in clones)
            clones = []
        below: dict[int, list[ImageNode]] = defaultdict(list)
        for each in clones:
            if each.parent and each.key not in self.reached:
                below[each.parent.snapshot_id].append(self.node(each, depth + 1, "", later, nested + 1))
        known = {each.snapshot_id for each in image.snapshots}
        lost = [_lost_snapshot(snapshot_id) for snapshot_id in sorted(below) if snapshot_id not in known]
        names = None if self.names is None else self.names.get(image.ref, ())
        return ImageNode(
            image=image,
            depth=depth,
            # An image in the trash has a name that no domain means.
            domains=() if image.expires_at is not None and names is not None else names,
            snapshots=tuple(
                SnapshotNode(
                    snapshot=each,
                    clones=tuple(below[each.snapshot_id]),
                    elsewhere=sum(key not in self.images for key in each.clones),
                )
                for each in (*image.snapshots, *lost)
            ),
            note=note,
        )


def _lost_snapshot(snapshot_id: int) -> FamilySnapshot:
    """Return what a clone names as its parent, and the parent does not have or does not show."""
    return FamilySnapshot(
        snapshot_id=snapshot_id, label=f"(id {snapshot_id})", kind=SnapshotKind.UNKNOWN, size_bytes=0, created_at=0.0
    )


def depths(roots: Iterable[ImageNode]) -> dict[ImageKey, int]:
    """Return how many ancestors each image has."""
    found, waiting = {}, list(roots)
    while waiting:
        node = waiting.pop()
        found[node.image.key] = node.depth
        waiting += [clone for snapshot in node.snapshots for clone in snapshot.clones]
    return found
