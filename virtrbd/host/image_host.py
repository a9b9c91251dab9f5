"""What work on images needs of a host: the cluster, the state directory, and who we are."""

from collections.abc import Callable
from dataclasses import dataclass

from virtrbd.ceph.cluster import Cluster
from virtrbd.host.state import StateDir
from virtrbd.model.image import ImageRef
from virtrbd.model.settings import Settings

# Bytes done, bytes in all; 0 in all where nobody knows.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageHost:
    """`host_uuid` is libvirt's, empty where there is no libvirt: what such a host makes carries no mark."""

    cluster: Cluster
    state: StateDir
    settings: Settings
    host_uuid: str
    say: Callable[[str], None]
    progress: Progress

    def tell_dropped(self, ref: ImageRef, dropped: tuple[str, ...]) -> None:
        """Say which settings an image did not take over from the one that it was made from."""
        if dropped:
            self.say(f"image {ref}: not taken over from its parent: {', '.join(dropped)}")
