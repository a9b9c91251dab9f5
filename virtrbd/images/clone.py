"""Clone images that the operator names: all names are checked first, then the clones are made side by side."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from virtrbd.ceph.details import missing_snapshot
from virtrbd.ceph.images import is_clone_of, read_image
from virtrbd.ceph.pools import refuse_missing_rooms
from virtrbd.deadline import abandon
from virtrbd.ending import obey
from virtrbd.errors import ClusterError, ImageExistsError, UnavailableError
from virtrbd.images.create import make_clone
from virtrbd.images.host import Host
from virtrbd.images.require import known_as, not_ready_error, require_image
from virtrbd.images.resume import Left, finish_left, left_of
from virtrbd.model.image import Image, ImageRef
from virtrbd.planning.interrupted import is_as_cloned
from virtrbd.planning.unready import without_a_byte
from virtrbd.printable import shell_command

T = TypeVar("T")

# Clones at a time: each is a dozen round trips, and the cluster works on many.
_AT_A_TIME = 8


def clone_by_hand(host: Host, parent: ImageRef, refs: Sequence[ImageRef]) -> tuple[ImageRef, ...]:
    """Clone a snapshot to each name; return the names that an earlier run of the same command had made.

    Raises ClusterError when a name is taken otherwise, and then none is made; BusyError, UnavailableError.
    """
    source = _require_source(host, parent)
    with host.state.locked(list(map(str, refs)), "image clone"):
        refuse_missing_rooms(host.cluster, refs)
        looked = _side_by_side(refs, partial(_look, host, parent, source))
        if failed := [found for found in looked.values() if isinstance(found, Exception)]:
            raise _joined(failed)
        missing = {ref: found for ref, found in looked.items() if not isinstance(found, Exception | Image)}
        for ref in (ref for ref in refs if ref not in missing):
            # The clone was marked, and the run interrupted before its intent was dropped.
            host.state.drop_intent(ref)
        made = _side_by_side([*missing], lambda ref: _make(host, parent, source, ref, missing[ref]))
    if failed := [found for found in made.values() if isinstance(found, Exception)]:
        for ref in (ref for ref, found in made.items() if not isinstance(found, Exception)):
            host.say(f"{ref}: cloned from {parent}")
        raise _joined(failed)
    return tuple(ref for ref in refs if ref not in missing)


def _require_source(host: Host, parent: ImageRef) -> Image:
    source = read_image(host.cluster, parent)
    if source is None:
        require_image(host, parent)
        way_out = f"make it with {shell_command('virtrbd image snapshot create', parent)}"
        raise missing_snapshot(host.cluster, parent, way_out)
    source = known_as(host, source)
    if source.state:
        raise not_ready_error(source)
    if not source.size_bytes:
        raise ClusterError(without_a_byte(parent))
    return source


def _look(host: Host, parent: ImageRef, source: Image, ref: ImageRef) -> Left | Image | None:
    """Return what an interrupted run of this host left of the clone, or the clone that an earlier run made.

    Raises ImageExistsError for anything else of that name.
    """
    try:
        # A marked clone may have been used since.
        return left_of(host, ref, lambda image, _: image.parent == parent and image.mark is None)
    except ImageExistsError:
        image = read_image(host.cluster, ref, usage=True)
        if image and is_as_cloned(image, source, host.host_uuid) and is_clone_of(host.cluster, ref, parent):
            return image
        raise


def _make(host: Host, parent: ImageRef, source: Image, ref: ImageRef, left: Left | None) -> None:
    # Several threads make them, and signals do not reach these.
    obey()
    if not finish_left(host, ref, left):
        make_clone(host, ref, "", source.size_bytes, parent)
    host.state.drop_intent(ref)


def _side_by_side(refs: Sequence[ImageRef], work: Callable[[ImageRef], T]) -> dict[ImageRef, T | Exception]:
    """Do the work for each, several at a time, and return its result or its error."""
    unanswered: list[UnavailableError] = []

    def run(ref: ImageRef) -> T | Exception:
        if unanswered:
            # Each would wait its own deadline.
            return unanswered[0]
        try:
            return work(ref)
        except UnavailableError as error:
            unanswered.append(error)
            return error
        except Exception as error:
            # The caller raises it, once the others ended.
            return error

    pool = ThreadPoolExecutor(_AT_A_TIME)
    try:
        ended = dict(zip(refs, pool.map(run, refs), strict=True))
    except BaseException:
        _end(pool)
        raise
    pool.shutdown()
    return ended


def _end(pool: ThreadPoolExecutor) -> None:
    """Finish what has begun, and begin nothing else. A second signal does not wait: the next run finishes."""
    try:
        pool.shutdown(cancel_futures=True)
    except BaseException:
        abandon("clones that others are at work on")
        raise


def _joined(failed: Sequence[Exception]) -> Exception:
    """Return an error with all messages, each once; another kind of error than Ceph's refusal comes first."""
    for error in failed:
        if not isinstance(error, ClusterError):
            return error
    return ClusterError(*dict.fromkeys(map(str, failed)))
