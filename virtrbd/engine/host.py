"""The host of a run: its libvirt, its cluster, its state directory."""

from collections.abc import Callable

from msgspec import Struct

from virtrbd.ceph.cluster import Cluster
from virtrbd.hypervisor.connection import Hypervisor
from virtrbd.images.image_host import ImageHost, Progress
from virtrbd.local.state_dir import StateDir
from virtrbd.model.hazard import Hazard
from virtrbd.model.settings import Settings


class Host(Struct, frozen=True, kw_only=True):
    """The host of a run: its libvirt, its cluster, its state directory."""

    hypervisor: Hypervisor
    cluster: Cluster
    state: StateDir
    settings: Settings
    host_uuid: str
    allowed: frozenset[Hazard]
    say: Callable[[str], None]
    progress: Progress

    @property
    def for_images(self) -> ImageHost:
        """The host, for work on images."""
        return ImageHost(
            cluster=self.cluster,
            state=self.state,
            settings=self.settings,
            identify=lambda: self.host_uuid,
            say=self.say,
            progress=self.progress,
        )
