"""The shape of an image, by its parts: whole, or what a crash left. Pure."""

from enum import Enum

from virtrbd.model.image_parts import ImageParts


class Shape(Enum):
    """The shape of an image under one name."""

    ABSENT = "there is no image of that name"
    WHOLE = "its name is right"
    REMAINS = "half-made or half-removed: it has a name and no header"
    NO_ID = "half-removed: it is listed, and its name leads nowhere"
    UNLISTED = "its name leads to it, and it is not listed"
    RENAMED = "a rename was interrupted: it has two names"
    MOVING = "a move to the trash was interrupted"
    RESTORING = "a move to the trash, or a restore, was interrupted: it is in the trash and in its pool"
    ORPHANED = "it is a clone, and its parent is gone"
    UNCLEAR = "its name leads to one image, and the list of its pool to another"


def shape_of(parts: ImageParts) -> Shape:
    """Return the shape; of several answers the one that loses nothing."""
    if not parts.is_named:
        return Shape.ABSENT
    is_at_odds = parts.id_object and parts.listed_id and parts.id_object != parts.listed_id
    if is_at_odds or parts.id_object == "":
        # An id object that cannot be read does not prove that there is no image.
        return Shape.UNCLEAR
    if not parts.has_header:
        return Shape.REMAINS
    if parts.trash is not None:
        return Shape.MOVING if parts.id_object is None else Shape.RESTORING
    if not parts.id_object:
        return Shape.NO_ID
    if parts.listed_id:
        return Shape.ORPHANED if parts.lost_parent else Shape.WHOLE
    return Shape.RENAMED if parts.listed_name and parts.is_known_by_it else Shape.UNLISTED
