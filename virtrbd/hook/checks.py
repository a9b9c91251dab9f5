"""What libvirt's hook checks on the images of a guest, in a process of its own that may stay until the guest runs."""

import time
from collections.abc import Callable, Sequence
from functools import partial

from msgspec import Struct

from virtrbd.ceph.cluster import Cluster
from virtrbd.ceph.images import clear_claims, set_running
from virtrbd.ceph.named_images import read_images
from virtrbd.ceph.watchers import Registration, machine_of
from virtrbd.contained import contained
from virtrbd.domainxml.image_uses import argument_images, times_open
from virtrbd.engine.start_gate import (
    Others,
    alone,
    beyond_mappings,
    beyond_source,
    check_images,
    ready_images,
    refuse_obstacles,
)
from virtrbd.errors import BlockedError, ConfigError, DeniedError, UnavailableError, VirtrbdError
from virtrbd.hook.apart import Say, Verdict
from virtrbd.hook.guest import Guest
from virtrbd.images.mapped import images_by_cluster, images_of_sources
from virtrbd.local.starts import Kept, keep_migration, keep_start
from virtrbd.model.image import Image, ImageRef, Watcher
from virtrbd.planning.saves import is_newer, stale_save
from virtrbd.printable import shell_command

# libvirt says when the guest runs. Where it cannot (the hook was removed meanwhile, libvirtd died), a client of this
# host that is seen twice, so far apart, is QEMU: another gate has its images open for a moment only.
_LOOK_EVERY_S = 3.0
_MOST_S = 300.0
# Between libvirt's two calls for an incoming migration are 11 ms (measured). A start by hand in that time would be
# taken for the migration's.
_PREPARED_WITHIN_S = 5.0

Check = Callable[[Cluster, Guest, Say], None]


class _Images(Struct, frozen=True, kw_only=True):
    """The images of this cluster that the guest's QEMU opens read-write: `here` surely, `unsure` perhaps, `mapped` by a
    block device of this host."""

    here: tuple[ImageRef, ...]
    unsure: tuple[ImageRef, ...]
    mapped: tuple[ImageRef, ...]

    @property
    def all(self) -> tuple[ImageRef, ...]:
        return (*self.here, *self.unsure, *self.mapped)


def check_start(guest: Guest, say: Say) -> None:
    """Say whether the guest may start; then stay, with its images open, until its QEMU has them open."""
    _look(_start, guest, say)


def check_migration(guest: Guest, say: Say) -> None:
    """Say whether the guest may come from another host."""
    _look(_migration, guest, say)


def check_restore(guest: Guest, say: Say) -> None:
    """Say whether the memory that libvirt is about to restore fits the images."""
    _look(_restore, guest, say)


def note_clean_end(guest: Guest, say: Say) -> None:
    """Record on the images that the guest has stopped."""
    _look(_clean_end, guest, say)


def _look(check: Check, guest: Guest, say: Say) -> None:
    is_connected = False
    try:
        with contained(f"looking at the images of {guest.name}"), Cluster.connect(guest.settings) as cluster:
            is_connected = True
            check(cluster, guest, say)
    except UnavailableError as error:
        say(Verdict.UNREACHABLE, error.as_line)
    except BlockedError as error:
        say(Verdict.REFUSED, f"{error.as_line} (an option of {shell_command('virtrbd start', guest.name)})")
    except (ConfigError, DeniedError) as error:
        say(Verdict.REFUSED if is_connected else Verdict.UNREACHABLE, error.as_line)
    except VirtrbdError as error:
        say(Verdict.REFUSED, error.as_line)


def _start(cluster: Cluster, guest: Guest, say: Say) -> None:
    images = _images(cluster, guest)
    if not images.all:
        say(Verdict.PASSES, "")
        return
    beyond = partial(
        beyond_mappings, mapped=set(images.mapped) - {*images.here, *images.unsure}, address=cluster.address
    )
    with alone(cluster, images.all, beyond, wait_s=_wait_s(guest), say=partial(say, Verdict.WAITING)) as registration:
        refuse_obstacles(registration)
        check_images(cluster, images.here, guest.run, None, allowed=frozenset(), say=_ignore)
        kept = keep_start(guest.starts, guest.uuid)
        try:
            set_running(cluster, images.here, guest.run)
            say(Verdict.PASSES, "")
            _stay(kept, registration, images.here, machine_of(cluster.address))
        finally:
            kept.give_up()


def _stay(kept: Kept, registration: Registration, refs: Sequence[ImageRef], machine: str) -> None:
    """Wait until the guest's QEMU has the images open, or there is none."""
    seen: dict[ImageRef, tuple[Watcher, ...]] = {}
    give_up_at = time.monotonic() + _MOST_S
    while time.monotonic() < give_up_at and not kept.is_over(_LOOK_EVERY_S):
        others = registration.others()
        now = {ref: tuple(each for each in others[ref] if machine_of(each.address) == machine) for ref in refs}
        if refs and all(set(now[ref]) & set(seen.get(ref, ())) for ref in refs):
            return
        seen = now


def _migration(cluster: Cluster, guest: Guest, say: Say) -> None:
    images = _images(cluster, guest)
    mapped = set(images.mapped) - {*images.here, *images.unsure}
    # The source's kernel has a mapped image open, as this host's has.
    times = {ref: 1 if ref in mapped else times_open(guest.document.tree, ref) for ref in images.all}

    def beyond(found: Others) -> Others:
        return beyond_source(beyond_mappings(found, mapped, cluster.address), times)

    with alone(cluster, images.all, beyond, wait_s=_wait_s(guest), say=partial(say, Verdict.WAITING)) as registration:
        refuse_obstacles(registration)
        ready_images(cluster, images.here)
        kept = keep_migration(guest.starts, guest.uuid)
        try:
            say(Verdict.PASSES, "")
            kept.is_over(_PREPARED_WITHIN_S)
        finally:
            kept.give_up()


def _restore(cluster: Cluster, guest: Guest, say: Say) -> None:
    for image in read_images(cluster, _images(cluster, guest).here).values():
        # The start that follows names an image that cannot be read.
        if isinstance(image, Image) and image.last_run and is_newer(image.last_run, guest.run):
            raise BlockedError(stale_save(image.ref, image.last_run, guest.name) + ", or --allow loses-data")
    say(Verdict.PASSES, "")


def _clean_end(cluster: Cluster, guest: Guest, say: Say) -> None:
    clear_claims(cluster, _images(cluster, guest).here, guest.run.host)
    say(Verdict.PASSES, "")


def _images(cluster: Cluster, guest: Guest) -> _Images:
    tree = guest.document.tree
    written = images_by_cluster(tree, cluster)
    # Only libvirt knows its storage pools; it starts no guest on a volume of an RBD pool (measured).
    mapped = images_of_sources(tree, cluster, lambda _pool: None).mapped
    return _Images(here=written.here, unsure=(*argument_images(tree), *written.doubtful), mapped=mapped)


def _wait_s(guest: Guest) -> float:
    """Return how long a watcher that a crash left may be waited for, within the hook's own deadline."""
    timeouts = guest.settings.timeouts
    return min(timeouts.watcher, max(0.0, timeouts.hook - timeouts.ceph))


def _ignore(_text: str) -> None:
    """Say nothing: what is said here is about hazards that were allowed, and none is."""
