"""Differences between documents, and how they are mended."""

from enum import StrEnum

from msgspec import Struct

from virtrbd.model.element_path import ElementPath
from virtrbd.printable import cut


class Mend(StrEnum):
    """How a difference is mended: in the running guest, at its next boot, or only by a new domain or image."""

    LIVE = "live"
    NEXT_BOOT = "next-boot"
    REBUILD = "rebuild"


class Difference(Struct, frozen=True, kw_only=True):
    """One difference from what is desired: where, what was wanted, what was found, how it is mended."""

    path: ElementPath
    wanted: str
    found: str
    mend: Mend = Mend.NEXT_BOOT

    @property
    def is_of_monitors(self) -> bool:
        """Whether a disk gets other monitors, as all disks do when the cluster's change."""
        return self.path.kind == "disk" and self.path.inside == "source/host"

    def __str__(self) -> str:
        return f"{cut(str(self.path))}: {cut(self.found) or 'absent'} -> {cut(self.wanted) or 'absent'}"
