"""Create an image so that the next run can finish it after any crash: intent, image, mark, intent removed."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from virtrbd.ceph.images import mark_image, read_image, set_state
from virtrbd.ceph.long_calls import remove_half
from virtrbd.ceph.making import clone_image, create_image
from virtrbd.ceph.mending import remove_remains
from virtrbd.ceph.parts import read_parts
from virtrbd.ceph.pools import refuse_full
from virtrbd.ceph.snapshots import create_snapshot
from virtrbd.ceph.trash import trash_image
from virtrbd.ending import EndedError, finishing
from virtrbd.errors import ClusterError, ConfigError, DeniedError, ImageBusyError, ImageExistsError, VirtrbdError
from virtrbd.images.host import Host
from virtrbd.images.traces import drop_unmarked, note_made, note_unmarked, unmarked
from virtrbd.images.wait import once_free
from virtrbd.local.file_lock import MARKING
from virtrbd.model.image import ImageLayout, ImageMark, ImageRef, Intent
from virtrbd.model.image_state import IMPORTING, Filling
from virtrbd.model.record import replace
from virtrbd.planning.interrupted import is_half
from virtrbd.printable import shell_command

# librbd's own writes follow each other in milliseconds: a state that lasts longer is not between them.
LOOK_AGAIN_AFTER_S = 2.0

# What fills a new image: it gets the image's name and is done when it returns.
Fill = Callable[[ImageRef], None]


def make_empty(
    host: Host,
    ref: ImageRef,
    domain_uuid: str,
    size_bytes: int,
    layout: ImageLayout,
    *,
    is_unsaid: bool = False,
) -> None:
    """Create an empty image. Raises ClusterError, UnavailableError."""
    refuse_full(host.cluster, ref.pool, layout.data_pool)
    with finishing():
        with _intended(host, _intent(host, ref, domain_uuid, size_bytes)):
            image_id = create_image(host.cluster, ref, size_bytes, layout)
        finish_made(host, ref, image_id, domain_uuid, is_unsaid=is_unsaid)


def make_clone(host: Host, ref: ImageRef, domain_uuid: str, size_bytes: int, parent: ImageRef) -> None:
    """Clone a snapshot. Raises ClusterError, UnavailableError."""
    refuse_full(host.cluster, ref.pool)
    # librbd makes an empty image first and gives it its parent some messages later: never interrupt that.
    with finishing():
        with _intended(host, _intent(host, ref, domain_uuid, size_bytes, parent=parent)):
            cloned = clone_image(host.cluster, parent, ref)
        finish_made(host, ref, cloned.image_id, domain_uuid)
    report_dropped(host, ref, cloned.dropped)


def make_filled(
    host: Host,
    ref: ImageRef,
    domain_uuid: str,
    size_bytes: int,
    fill: Fill,
    *,
    layout: ImageLayout | None = None,
    word: str = IMPORTING,
    base: str = "",
    what: str = "",
    is_unsaid: bool = False,
) -> None:
    """Create an image that is not ready until it is filled, with a snapshot `base` to clone from if one is named.

    Raises ClusterError, UnavailableError. A failure leaves nothing under the image's name.
    """
    layout = layout or ImageLayout()
    refuse_full(host.cluster, ref.pool, layout.data_pool)
    intent = replace(_intent(host, ref, domain_uuid, size_bytes), importing=True, what=what)
    image_id, is_whole = "", False
    try:
        with finishing(), _intended(host, intent):
            image_id = create_image(host.cluster, ref, size_bytes, layout, state=str(Filling(word, intent.nonce)))
        with _identifying(host):
            fill(ref)
        if base:
            create_snapshot(host.cluster, ref, base, protect=True)
        with finishing():
            is_whole = True
            # Never ready without a mark: an image that has neither mark nor state was never filled.
            finish_made(host, ref, image_id, domain_uuid, was_filled=True, is_unsaid=is_unsaid)
    except BaseException as error:
        if image_id and not is_whole:
            with finishing():
                _discard(host, ref, image_id, is_ended=isinstance(error, EndedError))
        raise


def report_dropped(host: Host, ref: ImageRef, dropped: Sequence[str]) -> None:
    """Report the settings that an image did not take over from its source."""
    if dropped:
        host.say(f"image {ref}: not taken over from its parent: {', '.join(dropped)}")


@contextmanager
def _identifying(host: Host) -> Iterator[None]:
    """Find out this host's UUID while the data moves: the mark needs it, and it takes as long as a small image."""

    def identify() -> None:
        # An error is reported when the mark asks again.
        with suppress(VirtrbdError):
            _ = host.host_uuid

    thread = threading.Thread(target=identify, daemon=True)
    thread.start()
    yield
    thread.join()


def finish_made(
    host: Host,
    ref: ImageRef,
    image_id: str,
    domain_uuid: str,
    *,
    was_filled: bool = False,
    is_unsaid: bool = False,
) -> None:
    """Mark the new image as the domain's (or as this host's, without a domain) and forget the intent.

    `is_unsaid` keeps the intent until the answer is written: a run that ends before that is run again, and the intent
    shows that there is nothing left to do.
    """
    if host.host_uuid:
        name = host.settings.host
        mark = ImageMark(domain_uuid=domain_uuid, image_id=image_id, host=host.host_uuid, host_name=name)
        # Before the mark: it proves that the mark is this host's own.
        note_made(host.state, ref, image_id)
        mark_image(host.cluster, ref, mark, ready=was_filled)
    else:
        # The next run that finds libvirt marks it.
        note_unmarked(host.state, ref, image_id, domain_uuid)
        if was_filled:
            set_state(host.cluster, ref, None)
    host.did(f"image {ref}: made")
    if not is_unsaid:
        host.state.drop_intent(ref)


def mark_unmarked(host: Host) -> None:
    """Mark what this host made while libvirt, which knows its UUID, did not answer; the rest waits."""
    with suppress(VirtrbdError):
        for ref, image_id, domain_uuid in list(unmarked(host.state)):
            with suppress(VirtrbdError), host.state.locked([str(ref)], MARKING):
                image = read_image(host.cluster, ref)
                if image and image.image_id == image_id and image.mark is None and not image.state:
                    finish_made(host, ref, image_id, domain_uuid, is_unsaid=True)
                drop_unmarked(host.state, ref)


def remove_half_made(host: Host, ref: ImageRef, image_id: str) -> None:
    """Remove what a killed run left, once what it had open is gone. Raises ImageBusyError, ClusterError.

    What it is, is looked at again: another client may have come to the end of making it since.
    """
    parts, intent = read_parts(host.cluster, ref), host.state.read_intent(ref)
    if parts.image_id != image_id:
        raise _changed(ref)
    if not parts.has_header:
        if not (intent and intent.made_id(image_id)):
            # Another client may be at it, and its writes follow each other in milliseconds.
            time.sleep(LOOK_AGAIN_AFTER_S)
            if read_parts(host.cluster, ref) != parts:
                raise _changed(ref)
        # It was cut off before there was anything to open; data comes after that.
        remove_remains(host.cluster, ref, image_id, data=False)
        host.state.drop_intent(ref)
        return
    image = read_image(host.cluster, ref, usage=True)
    if image is None or image.image_id != image_id or not is_half(image, intent):
        raise _changed(ref)
    wait_s = host.settings.timeouts.watcher
    once_free(partial(remove_half, host.cluster, ref, image_id), wait_s=wait_s, say=host.say)
    host.state.drop_intent(ref)


def _changed(ref: ImageRef) -> ClusterError:
    return ClusterError(f"image {ref}: another client is at work on it, or was meanwhile; run again when it is done")


def _discard(host: Host, ref: ImageRef, image_id: str, *, is_ended: bool) -> None:
    """Leave nothing half-made under the image's name.

    What can't be removed at all stays marked as not ready, and the intent lets the next run remove it.
    """
    if is_ended:
        # Who ended the run waits at the prompt, and a writer that was killed watches on for half a minute. A terminal
        # that is gone takes no words.
        with suppress(OSError):
            host.say(f"image {ref}: removing what was begun of it")
    with suppress(VirtrbdError, OSError):
        try:
            remove_half(host.cluster, ref, image_id)
        except ImageBusyError:
            # Only removing minds who watches.
            trash_image(host.cluster, ref, image_id, 0, past_watchers=True)
            host.state.drop_intent(ref)
            host.say(
                f"image {ref}: half-made, moved to the trash; `"
                f"{shell_command('virtrbd image trash purge', ref.pool_spec)}` removes it"
            )
        host.state.drop_intent(ref)


@contextmanager
def _intended(host: Host, intent: Intent) -> Iterator[None]:
    """Write the intent down before the image is made; forget it where Ceph surely made none.

    An intent that is left would prove that another client's image of that name is virtrbd's, also one made in between.
    Where the outcome is unknown, because no answer came in time, it stays: only the next run can decide.
    """
    host.state.write_intent(intent)
    try:
        yield
    except ImageExistsError:
        host.state.drop_intent(intent.ref)
        raise
    except (ClusterError, ConfigError, DeniedError):
        with suppress(VirtrbdError):
            if read_image(host.cluster, intent.ref) is None:
                host.state.drop_intent(intent.ref)
        raise


def _intent(host: Host, ref: ImageRef, domain_uuid: str, size_bytes: int, *, parent: ImageRef | None = None) -> Intent:
    return Intent(
        ref=ref,
        domain_uuid=domain_uuid,
        size_bytes=size_bytes,
        parent=parent,
        nonce=uuid.uuid4().hex,
        written_at=time.time(),
        client_id=host.cluster.client_id,
    )
