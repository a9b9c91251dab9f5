"""What an interrupted run left of an image, by the intent that it wrote."""

from enum import Enum

from virtrbd.model.image import Image, Intent
from virtrbd.model.image_parts import ImageParts
from virtrbd.model.image_state import Filling, HalfMade
from virtrbd.model.record import replace
from virtrbd.planning.image_shape import Shape, shape_of


def is_half(image: Image, intent: Intent | None) -> bool:
    """Whether an import or a clone of this host was interrupted: its nonce says so, or the image is still empty.

    That holds for an intent of any verb: no verb can use a half-made image.
    The image must be empty because it is removed: an old intent must not remove an image that was filled since.
    """
    if intent is None:
        return False
    if intent.parent and image.parent is None:
        # librbd makes a clone as an empty image first, and gives it its parent some messages later.
        is_begun = replace(intent, parent=None).matches(image) and not image.state
        return is_begun and image.allocated_bytes == 0
    if not intent.importing:
        return False
    if image.state:
        # A marked image was whole before: its maker did not write a later state.
        return isinstance(image.state, Filling) and image.state.nonce == intent.nonce and image.mark is None
    return intent.matches(image) and image.allocated_bytes == 0


def is_half_made(parts: ImageParts, intent: Intent) -> bool:
    """Whether librbd was interrupted while it made the image for a run of this host, before it had a header.

    That holds for an intent of any verb. The id shows that this client made it, or that it is younger than the intent:
    without a header it holds nothing that could be lost.
    """
    is_ours = intent.made_id(parts.image_id) or intent.is_before(parts.noted_at)
    return is_ours and shape_of(parts) is Shape.REMAINS


def as_it_is(image: Image, intent: Intent | None) -> Image:
    """Return the image with a state where it is half-made and has no state mark."""
    return replace(image, state=HalfMade()) if not image.state and is_half(image, intent) else image


def is_unclear(image: Image, intent: Intent) -> bool:
    """Whether an import may have been interrupted before it began: without fast-diff the data written is unknown."""
    return intent.importing and image.mark is None and not image.state and image.allocated_bytes is None


def is_as_cloned(image: Image, source: Image, host_uuid: str) -> bool:
    """Whether the image is what a verb of this host made of the source, and it is untouched since.

    Then to clone it again would make the same image. Where the amount of written data is unknown, it is not.
    """
    is_ours = image.mark is not None and (image.mark.domain_uuid, image.mark.host) == ("", host_uuid)
    is_used = image.state or image.running_on or image.watchers or image.snapshots
    return is_ours and not is_used and image.allocated_bytes == 0 and image.size_bytes == source.size_bytes


class ImageOrigin(Enum):
    """What an existing image is to a run that is about to make it."""

    FOREIGN = "it existed before"
    HALF = "an earlier run was interrupted while it was filled"
    MADE = "an earlier run made it, and was interrupted before it could report that"


def origin_of(image: Image, intent: Intent | None, *, domain_uuid: str, host_uuid: str) -> ImageOrigin:
    """Return what the image is, by an intent of this host."""
    if is_half(image, intent):
        return ImageOrigin.HALF
    if intent is None or intent.domain_uuid != domain_uuid or image.state:
        return ImageOrigin.FOREIGN
    is_ours = image.mark is None or (image.mark.domain_uuid, image.mark.host) == (domain_uuid, host_uuid)
    if not is_ours or is_unclear(image, intent):
        return ImageOrigin.FOREIGN
    return ImageOrigin.MADE if intent.matches(replace(image, mark=None)) else ImageOrigin.FOREIGN
