"""What an interrupted run left of an image, by the intent that it wrote."""

from dataclasses import replace
from enum import Enum

from virtrbd.model.image import Image, Intent
from virtrbd.model.image_parts import ImageParts
from virtrbd.planning.image_shape import Shape, shape_of

# The state of an image that bears none and is half-made all the same: an intent of this host knows.
HALF_MADE = "half-made"


def is_half(image: Image, intent: Intent | None) -> bool:
    """Whether an import or a clone of ours was cut off: its nonce says so, or nothing was written to the image yet.

    Whichever verb wrote the intent: a half image is of no use to any of them.
    Empty is asked for because a half image is removed: an old intent must not take what somebody filled since.
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
        # What is marked was whole before: a state that was written on it later is not its maker's.
        return intent.nonce in image.state and image.mark is None
    return intent.matches(image) and image.allocated_bytes == 0


def is_half_made(parts: ImageParts, intent: Intent) -> bool:
    """Whether librbd was cut off while it made the image for a run of ours, before it had a header.

    Whichever verb wrote the intent. The id says whose it is, or that it is younger than the intent: without a header it
    holds nothing that could be lost.
    """
    is_ours = intent.made_id(parts.image_id) or intent.is_before(parts.noted_at)
    return is_ours and shape_of(parts) is Shape.REMAINS


def as_it_is(image: Image, intent: Intent | None) -> Image:
    """Return the image with a state where it is half-made and nothing on it says so."""
    return replace(image, state=HALF_MADE) if not image.state and is_half(image, intent) else image


def is_unclear(image: Image, intent: Intent) -> bool:
    """Whether nobody can tell if an import was cut off before it began: nothing says how much of it was written."""
    return intent.importing and image.mark is None and not image.state and image.allocated_bytes is None


def is_as_cloned(image: Image, source: Image, host_uuid: str) -> bool:
    """Whether the image is what a run of ours by hand makes of the source, and nobody did anything with it since.

    So that to clone it again would make the very same. Where nothing says how much was written it may be anything.
    """
    is_ours = image.mark is not None and (image.mark.domain_uuid, image.mark.host) == ("", host_uuid)
    is_used = image.state or image.running_on or image.watchers or image.snapshots
    return is_ours and not is_used and image.allocated_bytes == 0 and image.size_bytes == source.size_bytes


class ImageOrigin(Enum):
    """What an image that is there already is to a run that is about to make it."""

    FOREIGN = "it was there before"
    HALF = "an earlier run was cut off while it was filled"
    MADE = "an earlier run made it, and was cut off before it could say so"


def origin_of(image: Image, intent: Intent | None, *, domain_uuid: str, host_uuid: str) -> ImageOrigin:
    """Return what the image is: an intent of ours tells, and nothing else."""
    if is_half(image, intent):
        return ImageOrigin.HALF
    if intent is None or intent.domain_uuid != domain_uuid or image.state:
        return ImageOrigin.FOREIGN
    is_ours = image.mark is None or (image.mark.domain_uuid, image.mark.host) == (domain_uuid, host_uuid)
    if not is_ours or is_unclear(image, intent):
        return ImageOrigin.FOREIGN
    return ImageOrigin.MADE if intent.matches(replace(image, mark=None)) else ImageOrigin.FOREIGN
