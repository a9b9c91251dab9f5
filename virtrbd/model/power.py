"""Whether a domain runs: as specs want it, and as libvirt says."""

from enum import StrEnum

from msgspec import Struct


class PowerState(StrEnum):
    """A domain's state in one word; `saved` is off, but holds memory that belongs to its disks."""

    RUNNING = "running"
    PAUSED = "paused"
    SHUT_OFF = "shut off"
    SAVED = "saved"
    CRASHED = "crashed"
    UNKNOWN = "unknown"

    @property
    def is_active(self) -> bool:
        """Whether it has a QEMU process."""
        return self in (PowerState.RUNNING, PowerState.PAUSED)


class WantedState(StrEnum):
    """The power state that a spec wants; `unmanaged` leaves it to the operator."""

    RUNNING = "running"
    SHUT_OFF = "shut-off"
    UNMANAGED = "unmanaged"


class ManagedSave(Struct, frozen=True, kw_only=True):
    """The managed save of a domain: the generation of its guest, "" where its XML has none."""

    domain: str
    generation: str = ""
