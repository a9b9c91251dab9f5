"""The start gate: a guest starts only when no other client has its disks open."""

import random
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from virtrbd.ceph.cluster import Cluster
from virtrbd.ceph.images import set_running
from virtrbd.ceph.named_images import read_images
from virtrbd.ceph.watchers import Registration, machine_of, placed, registered
from virtrbd.ending import finishing
from virtrbd.errors import BlockedError, ClusterError, ImageBusyError, UnavailableError
from virtrbd.model.failure import Failure
from virtrbd.model.hazard import Hazard
from virtrbd.model.image import Image, ImageRef, LastRun, Watcher
from virtrbd.model.power import ManagedSave
from virtrbd.planning.saves import is_newer, stale_save
from virtrbd.planning.unready import not_ready_message
from virtrbd.printable import cut

Others = dict[ImageRef, tuple[Watcher, ...]]


def through_gate(
    cluster: Cluster,
    refs: Sequence[ImageRef],
    begin: Callable[[], None],
    *,
    run: LastRun,
    allowed: frozenset[Hazard],
    wait_s: float,
    say: Callable[[str], None],
    unsure: Sequence[ImageRef] = (),
    mapped: Sequence[ImageRef] = (),
    save: ManagedSave | None = None,
) -> None:
    """Begin what lets a QEMU write to the images (a start, an attach) once no other client has them open read-write.

    Register (open read-write), then look; a watcher that lingers after a crash is waited for, then named. QEMU's own
    watcher is not waited for on the `unsure` ones: an image in an argument of QEMU may be opened read-only.
    The `mapped` ones have a block device of this host, which is a client of its own: that one may stay.
    `run` is the run that begins, and is recorded on the images; `save` the memory that it resumes.
    Raises ImageBusyError, ClusterError, BlockedError (takes-over, loses-data), UnavailableError, HypervisorError.
    """
    beyond = partial(beyond_mappings, mapped=set(mapped) - {*refs, *unsure}, address=cluster.address)
    with alone(cluster, (*refs, *unsure, *mapped), beyond, wait_s=wait_s, say=say) as registration:
        refuse_obstacles(registration)
        check_images(cluster, refs, run, save, allowed=allowed, say=say)
        # Interrupted in between, a guest that never ran would be recorded, or a running one look stopped.
        with finishing():
            set_running(cluster, refs, run)
            begin()
            # virtrbd's own handle is closed only when QEMU's is there: so the image never looks free.
            _await_qemu(registration, refs)


@contextmanager
def alone(
    cluster: Cluster,
    refs: Sequence[ImageRef],
    beyond: Callable[[Others], Others],
    *,
    wait_s: float,
    say: Callable[[str], None],
) -> Iterator[Registration]:
    """Open the images read-write, and yield while no other clients have them open than those that `beyond` leaves out.

    Raises ImageBusyError, ClusterError, UnavailableError.
    """
    give_up_at = None
    while True:
        with registered(cluster, tuple(dict.fromkeys(refs))) as registration:
            others = beyond(registration.others())
            if not others:
                yield registration
                return
        now = time.monotonic()
        if give_up_at is None:
            give_up_at = now + wait_s
            if wait_s:
                say(f"{_names(others)}; waiting up to {wait_s:g} s in case a crash left it behind")
        if now >= give_up_at:
            text = _message(others, wait_s, _users(cluster, list(others)))
            raise ImageBusyError(text, tuple(str(w) for found in others.values() for w in found))
        # Two hosts that look at the same time see each other: both release, and try again at different moments.
        time.sleep(random.uniform(0.2, 1.0))


def check_images(
    cluster: Cluster,
    refs: Sequence[ImageRef],
    run: LastRun,
    save: ManagedSave | None,
    *,
    allowed: frozenset[Hazard],
    say: Callable[[str], None],
) -> None:
    """Raise ClusterError for images that are not ready, BlockedError where the run needs what is not allowed."""
    for image in ready_images(cluster, refs):
        if image.running_on not in ("", run.host):
            _take_over(image, allowed, say)
        if save and image.last_run and is_newer(image.last_run, run) and Hazard.LOSES_DATA not in allowed:
            raise BlockedError(stale_save(image.ref, image.last_run, save.domain) + ", or --allow loses-data")


def ready_images(cluster: Cluster, refs: Sequence[ImageRef]) -> tuple[Image, ...]:
    """Return the images that exist. Raises ClusterError for one that is not ready, or cannot be read."""
    found = read_images(cluster, refs).values()
    for image in found:
        if isinstance(image, Failure):
            raise ClusterError(f"{image.text}; not started")
        if image and image.state:
            raise ClusterError(f"not started: {not_ready_message(image)}")
    return tuple(image for image in found if isinstance(image, Image))


def _take_over(image: Image, allowed: frozenset[Hazard], say: Callable[[str], None]) -> None:
    host = image.running_on_label
    if Hazard.TAKES_OVER not in allowed:
        raise BlockedError(
            f"image {image.ref} was last started on host {host}, which never said that it stopped; "
            f"shut it down there with virtrbd, or --allow takes-over when that host is surely dead, and may lose a "
            f"managed save of it"
        )
    say(
        f"image {image.ref} is taken over from host {host}; where its domain holds a managed save there, drop that: "
        f"resumed later, its old memory would destroy data that is written from now on"
    )


def refuse_obstacles(registration: Registration) -> None:
    """Raise ClusterError where the guest could not write: libvirt would say "started", and the guest get errors."""
    found = [f"image {ref}: {each}" for ref, obstacles in registration.obstacles().items() for each in obstacles]
    if found:
        raise ClusterError(f"not started: {'; '.join(found)}")


def _await_qemu(registration: Registration, refs: Sequence[ImageRef]) -> None:
    give_up_at = time.monotonic() + 10
    while any(not registration.others()[ref] for ref in refs):
        if time.monotonic() >= give_up_at:
            raise UnavailableError("libvirt reports that it is done, but no QEMU is a watcher of the images")
        time.sleep(0.05)


def beyond_mappings(found: Others, mapped: Collection[ImageRef], address: str) -> Others:
    """Return the images that others have open, besides the one client of this host for a mapped image."""
    rest = {
        ref: tuple(each for each in placed(watchers, address) if ref not in mapped or not each.is_here)
        for ref, watchers in found.items()
    }
    return {ref: watchers for ref, watchers in rest.items() if watchers}


def beyond_source(found: Others, times: Mapping[ImageRef, int]) -> Others:
    """Return the images that others have open, besides the QEMU of the one host that a guest is migrated from.

    `times`: how often a QEMU of the guest opens each image, each time as a client of its own.
    """
    machines = {machine_of(watcher.address) for watchers in found.values() for watcher in watchers}
    most = times if len(machines) == 1 else dict.fromkeys(times, 0)
    return {ref: watchers for ref, watchers in found.items() if len(watchers) > most[ref]}


def _names(others: Others) -> str:
    return "; ".join(f"image {ref} is open by {', '.join(map(str, found))}" for ref, found in sorted(others.items()))


def _users(cluster: Cluster, refs: Sequence[ImageRef]) -> str:
    """Return the hosts and the domains of the images' marks, for a message; empty without marks."""
    images = [image for image in read_images(cluster, refs).values() if isinstance(image, Image)]
    # Where the guest runs; without that mark those of its last run and its owner are a hint.
    named_by = [[image.running_on_label] if image.running_on else image.host_labels.values() for image in images]
    hosts = sorted({label for labels in named_by for label in labels})
    domains = sorted({cut(image.last_run.domain) for image in images if image.last_run and image.last_run.domain})
    named = [f"{what} {', '.join(found)}" for what, found in (("host", hosts), ("domain", domains)) if found]
    return " and ".join(named)


def _message(others: Others, wait_s: float, users: str) -> str:
    marks = f" (the image's marks name {users})" if users else ""
    return (
        f"{_names(others)}, still after {wait_s:g} s; not started: two writers would destroy the disk. Stop that "
        f"client{marks}"
    )
