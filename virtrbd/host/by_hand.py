"""Images that a person asks for by name: made once, and finished when an earlier run was cut off."""

from collections.abc import Callable, Sequence

from virtrbd.ceph.images import free_of_inherited, is_taken, read_image
from virtrbd.deadline import abandon
from virtrbd.errors import ClusterError, UnavailableError
from virtrbd.host.image_host import ImageHost
from virtrbd.host.making import finish_made, make_clone, make_empty, make_filled, remove_half_made
from virtrbd.host.requiring import not_ready, require_image
from virtrbd.model.image import Image, ImageLayout, ImageRef, Intent
from virtrbd.planning.leftovers import Leftover, leftover_of

# Clones at a time: each is a dozen round trips, and the cluster works on many.
_AT_A_TIME = 8


def create_by_hand(host: ImageHost, ref: ImageRef, size_bytes: int, layout: ImageLayout) -> None:
    """Create an empty image. Raises ClusterError when it exists, BusyError."""
    with host.state.locked([str(ref)], "image create"):
        if not _finished_earlier(host, ref, lambda image, _: image.size_bytes == size_bytes):
            make_empty(host, ref, "", size_bytes, layout)


def clone_by_hand(host: ImageHost, parent: ImageRef, refs: Sequence[ImageRef]) -> None:
    """Clone a snapshot as often as names are given. Raises ClusterError when one exists, BusyError."""
    from concurrent.futures import ThreadPoolExecutor

    source = read_image(host.cluster, parent)
    if source is None:
        require_image(host, parent)
        raise ClusterError(f"snapshot {parent} does not exist; make it with virtrbd image snapshot create {parent}")
    if source.state:
        raise not_ready(source)

    unanswered: list[UnavailableError] = []

    def clone(ref: ImageRef) -> None:
        if unanswered:
            # Each would wait its own deadline.
            raise unanswered[0]
        try:
            clone_one(ref)
        except UnavailableError as error:
            unanswered.append(error)
            raise

    def clone_one(ref: ImageRef) -> None:
        if not _finished_earlier(host, ref, lambda image, _: image.parent == parent):
            make_clone(host, ref, "", source.size_bytes, parent)

    with host.state.locked(list(map(str, refs)), "image clone"):
        pool = ThreadPoolExecutor(_AT_A_TIME)
        try:
            tried = {ref: pool.submit(clone, ref) for ref in refs}
            ended = {ref: each.exception() for ref, each in tried.items()}
        except BaseException:
            # Ctrl-C and SIGTERM come to this thread only; what the others began is finished by the next run.
            pool.shutdown(wait=False, cancel_futures=True)
            abandon("clones that others are at work on")
            raise
        pool.shutdown()
    failed = [error for error in ended.values() if error]
    if not failed:
        return
    for ref in (ref for ref, error in ended.items() if not error):
        host.say(f"{ref}: cloned from {parent}")
    for text in dict.fromkeys(str(error) for error in failed[1:] if error is not failed[0]):
        host.say(text)
    raise failed[0]


def fill_by_hand(
    host: ImageHost,
    ref: ImageRef,
    size_bytes: int,
    fill: Callable[[ImageRef], None],
    layout: ImageLayout,
    *,
    what: str,
    word: str = "importing",
    base: str = "",
) -> None:
    """Make an image and fill it; what a killed run of ours left is made anew.

    `what` is the same for the same work alone, "" for work that can't be the same; such is finished, not begun anew.

    Raises ClusterError when the image exists, BusyError, UnavailableError; what fails removes what it made.
    """
    with host.state.locked([str(ref)], f"image {word}"):
        if not _finished_earlier(host, ref, lambda _, intent: bool(what) and intent.what == what):
            make_filled(host, ref, "", size_bytes, fill, layout=layout, word=word, base=base, what=what)


def _finished_earlier(host: ImageHost, ref: ImageRef, is_the_same: Callable[[Image, Intent], bool]) -> bool:
    """Finish what an earlier run of ours began, and return whether that leaves nothing to do.

    Raises ClusterError when the image is there for another reason.
    """
    # Mostly there is none, and trying to open it would take twice as long to say so.
    image = read_image(host.cluster, ref, usage=True) if is_taken(host.cluster, ref) else None
    if image is None:
        return False
    intent = host.state.read_intent(ref)
    match leftover_of(image, intent, domain_uuid="", host_uuid=host.host_uuid):
        case Leftover.HALF:
            remove_half_made(host, ref, image.image_id)
            return False
        case Leftover.MADE if intent and is_the_same(image, intent):
            host.tell_dropped(ref, free_of_inherited(host.cluster, ref))
            finish_made(host, ref, image.image_id, "")
            return True
        case _:
            fact = f"is not ready: {image.state}" if image.state else "exists"
            raise ClusterError(f"image {ref} {fact}; name another one, or remove it")
