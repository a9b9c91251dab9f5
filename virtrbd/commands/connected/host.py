"""The host of a run, connected as a verb needs it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from virtrbd.commands.connected.unmarked import mark_what_waits
from virtrbd.commands.frame.run import Run
from virtrbd.images.host import Host
from virtrbd.model.hazard import Hazard
from virtrbd.model.settings import Settings


@contextmanager
def connected(
    run: Run, settings: Settings, allowed: frozenset[Hazard] = frozenset(), *, needs_libvirt: bool = True
) -> Iterator[Host]:
    """Connect to libvirt and Ceph, and disconnect at the end. Raises UnavailableError, DeniedError, ConfigError."""
    with Host.connect(settings, allowed, run.say, run.did, needs_libvirt=needs_libvirt) as host:
        yield host
        if host.has_libvirt:
            mark_what_waits(host)


def connected_for_images(run: Run, allowed: frozenset[Hazard] = frozenset()) -> AbstractContextManager[Host]:
    """Connect to Ceph, and to libvirt at the first query: it knows this host's UUID and what its domains use."""
    return connected(run, run.settings(), allowed, needs_libvirt=False)
