"""Messages about an image that is not ready according to a mark in the pool. Pure."""

from virtrbd.model.image import Image, ImageRef
from virtrbd.model.image_details import Child
from virtrbd.model.image_state import Filling, HalfMade
from virtrbd.printable import shell_command

_MARK = "virtrbd.state"


def not_ready_message(image: Image) -> str:
    """Return the message: the image, its state, and the way out."""
    return f"image {image.ref.image} is not ready: {image.state}; {ready_again(image)}"


def without_a_byte(ref: ImageRef) -> str:
    """Return the message that the snapshot cannot be cloned, and the way out: librbd says only "invalid argument"."""
    return f"snapshot {ref} has a size of 0, and RBD does not clone that; make an empty image instead"


def ready_again(image: Image | Child) -> str:
    """Return the way out.

    Every writer of the pool may write the mark: an image with data must never be removed because of it. An image
    with an owner's mark was whole before.
    """
    if isinstance(image.state, HalfMade):
        return "run the command that made it again, or remove the image"
    is_unfilled = image.mark is None and isinstance(image.state, Filling)
    usual = (
        "wait until that ends, run it again, or remove the image"
        if is_unfilled
        else "wait until that ends, or run it again"
    )
    drop = shell_command("rbd image-meta remove", image.ref.image, _MARK)
    return f"{usual}; where its mark {_MARK} is wrong, drop that: {drop}"
