"""What work on images needs of a host: the cluster, the state directory, and this host's name."""

from collections.abc import Callable

from msgspec import Struct

from virtrbd.ceph.cluster import Cluster
from virtrbd.local.state_dir import StateDir
from virtrbd.model.image import ImageRef
from virtrbd.model.settings import Settings

# Bytes done, bytes in all; 0 in all where unknown.
Progress = Callable[[int, int], None]


class ImageHost(Struct, frozen=True, kw_only=True):
    """`identify` returns libvirt's UUID of the host, "" where there is no libvirt; it may have to connect first."""

    cluster: Cluster
    state: StateDir
    settings: Settings
    identify: Callable[[], str]
    say: Callable[[str], None]
    progress: Progress

    @property
    def host_uuid(self) -> str:
        """libvirt's UUID of this host; empty where there is none: images made on such a host carry no mark."""
        return self.identify()

    def tell_dropped(self, ref: ImageRef, dropped: tuple[str, ...]) -> None:
        """Report the settings that an image did not take over from its source."""
        if dropped:
            self.say(f"image {ref}: not taken over from its parent: {', '.join(dropped)}")
