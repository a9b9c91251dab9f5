"""What virtrbd writes into a domain's metadata."""

from msgspec import Struct

from virtrbd.model.element_path import ElementPath
from virtrbd.printable import cut


class Hold(Struct, frozen=True, kw_only=True):
    """A hold, for maintenance. `until` in seconds since 1970, None until it is released."""

    until: float | None = None
    why: str = ""

    def holds_at(self, now: float) -> bool:
        """Whether it applies now."""
        return self.until is None or now < self.until

    @property
    def reason_text(self) -> str:
        """The reason, to be appended to a message; empty where none was given."""
        return f" ({cut(self.why)})" if self.why else ""


class ForeignChange(Struct, frozen=True, kw_only=True):
    """A change by others in a definition where no spec states anything: at `path`, from `was` to `found`.

    An empty `was` is an addition, an empty `found` a removal.
    """

    path: ElementPath
    was: str
    found: str

    def __str__(self) -> str:
        return f"{cut(str(self.path))}: {cut(self.was) or 'absent'} -> {cut(self.found) or 'absent'}"


class DomainMark(Struct, frozen=True, kw_only=True):
    """virtrbd's own metadata element; it counts only where `uuid` is the domain's: copies carry it too.

    `stated`: the paths of everything that the last rendering stated: virtrbd may remove nothing else again.
    `foreign`: changes by others, as long as they are there; `ignored`: the paths that virtrbd leaves alone.
    `balloon_bytes`: the memory that the guest was asked to have, at its start or since; 0 in marks without it.
    `generation`: the run of its guest that the images record (LastRun); a managed save keeps it with the live XML.
    `places`: where the stated devices are, by step (own_devices): others may have a device of the same key.
    `forms`: how libvirt writes what was stated, where it differs (domainxml/forms).
    """

    uuid: str
    host: str
    inputs: str = ""
    definition: str = ""
    stated: tuple[ElementPath, ...] = ()
    foreign: tuple[ForeignChange, ...] = ()
    ignored: tuple[ElementPath, ...] = ()
    hold: Hold | None = None
    balloon_bytes: int = 0
    generation: str = ""
    places: tuple[tuple[str, str], ...] = ()
    forms: tuple[str, ...] = ()
