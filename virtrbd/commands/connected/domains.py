"""The host as verbs on domains work with it: libvirt and Ceph connected."""

from collections.abc import Iterator
from contextlib import contextmanager

from virtrbd.ceph.cluster import Cluster
from virtrbd.commands.connected.unmarked import mark_what_waits
from virtrbd.commands.frame.run import Run
from virtrbd.engine.host import Host
from virtrbd.hypervisor.connection import Hypervisor
from virtrbd.local.state_dir import StateDir
from virtrbd.model.hazard import Hazard
from virtrbd.model.settings import Settings


@contextmanager
def connected(run: Run, settings: Settings, allowed: frozenset[Hazard] = frozenset()) -> Iterator[Host]:
    """Connect to libvirt and Ceph, and disconnect at the end."""
    with Hypervisor.connect(settings) as hypervisor, Cluster.connect(settings) as cluster:
        host = Host(
            hypervisor=hypervisor,
            cluster=cluster,
            state=StateDir(settings.state_dir),
            settings=settings,
            host_uuid=hypervisor.host_uuid(),
            allowed=allowed,
            say=run.say,
            progress=lambda _done, _total: None,
        )
        yield host
        mark_what_waits(host.for_images)
