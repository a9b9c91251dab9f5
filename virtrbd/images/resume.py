"""Resume work on an image that the operator names: made once, and finished after an earlier run was cut off."""

from collections.abc import Callable

from msgspec import Struct

from virtrbd.ceph.images import free_of_inherited, is_taken, read_image
from virtrbd.ceph.mending import complete_made
from virtrbd.ceph.parts import read_parts
from virtrbd.errors import ImageExistsError
from virtrbd.images.create import finish_made, make_empty, make_filled, remove_half_made, report_dropped
from virtrbd.images.host import Host
from virtrbd.model.image import Image, ImageLayout, ImageRef, Intent
from virtrbd.model.image_state import IMPORTING
from virtrbd.planning.interrupted import ImageOrigin, is_half_made, origin_of
from virtrbd.planning.unready import not_ready_message


class Left(Struct, frozen=True, kw_only=True):
    """What an interrupted run of this host left of an image: half of it, all but the mark, or all but its answer."""

    image_id: str
    is_half: bool = False
    is_marked: bool = False


def create_by_hand(host: Host, ref: ImageRef, size_bytes: int, layout: ImageLayout) -> bool:
    """Create an empty image; return whether an earlier run had made it. Raises ClusterError when it exists, BusyError.

    The caller drops the intent after the answer is written.
    """
    with host.state.locked([str(ref)], "image create"):
        left = left_of(host, ref, lambda image, _: image.size_bytes == size_bytes)
        if not finish_left(host, ref, left):
            make_empty(host, ref, "", size_bytes, layout, is_unsaid=True)
        return bool(left and left.is_marked)


def fill_by_hand(
    host: Host,
    ref: ImageRef,
    size_bytes: int,
    fill: Callable[[ImageRef], None],
    layout: ImageLayout,
    *,
    what: str,
    word: str = IMPORTING,
    base: str = "",
) -> bool:
    """Make an image and fill it, again where a killed run of this host left it. Return whether an earlier run made it.

    `what` identifies the work, "" for work that is never the same; the same work is finished, not begun again.
    The caller drops the intent after the answer is written.

    Raises ClusterError when the image exists, BusyError, UnavailableError; what fails removes what it made.
    """
    with host.state.locked([str(ref)], f"image {word}"):
        left = left_of(host, ref, lambda _, intent: bool(what) and intent.what == what)
        if not finish_left(host, ref, left):
            make_filled(host, ref, "", size_bytes, fill, layout=layout, word=word, base=base, what=what, is_unsaid=True)
        return bool(left and left.is_marked)


def left_of(host: Host, ref: ImageRef, is_the_same: Callable[[Image, Intent], bool]) -> Left | None:
    """Return what an earlier run of this host left of the image, None where the name is free.

    Raises ImageExistsError when the name is taken otherwise.
    """
    # Usually there is none, and trying to open it would take twice as long.
    if not is_taken(host.cluster, ref):
        return None
    if intent := host.state.read_intent(ref):
        parts = read_parts(host.cluster, ref)
        if is_half_made(parts, intent):
            return Left(image_id=parts.image_id, is_half=True)
    image = read_image(host.cluster, ref, usage=True)
    if image is None:
        return None
    match origin_of(image, intent, domain_uuid="", host_uuid=host.host_uuid):
        case ImageOrigin.HALF:
            return Left(image_id=image.image_id, is_half=True)
        case ImageOrigin.MADE if intent and is_the_same(image, intent):
            return Left(image_id=image.image_id, is_marked=image.mark is not None)
        case _:
            if image.state:
                raise ImageExistsError(f"name another image: {not_ready_message(image)}")
            raise ImageExistsError(f"image {ref} exists; name another one, or remove it")


def finish_left(host: Host, ref: ImageRef, left: Left | None) -> bool:
    """Finish what was left of the image, or remove it where it is half-made; return whether nothing is left to do."""
    if left is None:
        return False
    if left.is_half:
        remove_half_made(host, ref, left.image_id)
        return False
    if not left.is_marked:
        report_dropped(host, ref, free_of_inherited(host.cluster, ref))
        complete_made(host.cluster, ref, left.image_id)
        finish_made(host, ref, left.image_id, "", is_unsaid=True)
    return True
