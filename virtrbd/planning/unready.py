"""What is said of an image that a mark in the pool calls not ready. Pure."""

from virtrbd.model.image import Image, ImageRef
from virtrbd.model.image_details import Child
from virtrbd.planning.interrupted import HALF_MADE
from virtrbd.printable import shell_command

# What an image is in the middle of that was never whole.
_FILLING = ("importing", "copying")
_MARK = "virtrbd.state"


def not_ready_message(image: Image) -> str:
    """Return the image, what it is in the middle of, and the way out."""
    return f"image {image.ref.image} is not ready: {image.state}; {ready_again(image)}"


def without_a_byte(ref: ImageRef) -> str:
    """Return that nothing can be cloned from the snapshot, and the way out: librbd calls it an invalid argument."""
    return f"snapshot {ref} has a size of 0, and RBD clones none such; make an empty image instead"


def ready_again(image: Image | Child) -> str:
    """Return the way out.

    Every writer of the pool may write the mark: an image that holds data is never to be removed for it. An image of
    whom an owner's mark tells was whole before.
    """
    if image.state == HALF_MADE:
        return "run what was making it again, or remove the image"
    is_unfilled = image.mark is None and image.state.split(" ")[0] in _FILLING
    usual = "let that end, run it again, or remove the image" if is_unfilled else "let that end, or run it again"
    drop = shell_command("rbd image-meta remove", image.ref.image, _MARK)
    return f"{usual}; where its mark {_MARK} is wrong, drop that: {drop}"
