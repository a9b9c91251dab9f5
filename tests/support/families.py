"""Families of images, built one by one or drawn: any image may name any other as its parent."""

from typing import Any

from hypothesis import strategies as st

from virtrbd.model.family import Families, FamilyImage, FamilySnapshot, ImageKey, ParentLink
from virtrbd.model.image import ImageRef
from virtrbd.model.image_details import SnapshotKind

MIB = 1024**2
HERE = "here"


def key_of(name: str) -> ImageKey:
    return ImageKey(pool_id=1, namespace="", image_id=name)


def snapshot_of(snapshot_id: int = 1, *clones: str, **fields: Any) -> FamilySnapshot:
    """A snapshot that lists these clones."""
    facts: dict[str, Any] = {"kind": SnapshotKind.USER, "size_bytes": 8 * MIB, "created_at": 1000.0} | fields
    label = fields.pop("label", f"s{snapshot_id}")
    return FamilySnapshot(
        snapshot_id=snapshot_id, **{"label": label, **facts}, clones=frozenset(map(key_of, clones))
    )  # fmt: skip


def image_of(name: str, parent: str = "", snapshot_id: int = 1, **fields: Any) -> FamilyImage:
    """An image with that name and id, and a clone of the parent's snapshot where one is named."""
    link = ParentLink(key=key_of(parent), snapshot_id=snapshot_id, overlap_bytes=8 * MIB) if parent else None
    facts: dict[str, Any] = {"size_bytes": 8 * MIB, "used_bytes": MIB, "is_listed": True, "parent": link} | fields
    return FamilyImage(key=key_of(name), ref=ImageRef(pool="vms", name=name), **facts)


def families_of(*images: FamilyImage) -> Families:
    return Families(images={image.key: image for image in images}, unread_pools={})


@st.composite
def families(draw: st.DrawFn) -> Families:
    """Any images, each of which may name any other, itself or an unknown one as its parent."""
    names = [f"i{number}" for number in range(draw(st.integers(0, 12)))]
    parents = st.sampled_from(["", "gone", *names])
    return families_of(
        *(
            image_of(
                name,
                draw(parents),
                draw(st.integers(1, 3)),
                snapshots=tuple(
                    snapshot_of(number, *draw(st.lists(parents.filter(bool), max_size=2)))
                    for number in range(1, draw(st.integers(1, 3)))
                ),
                expires_at=draw(st.none() | st.just(1000.0)),
            )
            for name in names
        )
    )
