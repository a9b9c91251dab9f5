"""What all records share. They are msgspec's: a dataclass takes fifty times as long to make, at every start."""

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    # Of this one mypy checks the words, for msgspec's records too.
    from dataclasses import replace
else:
    from msgspec.structs import replace

__all__ = ["Keyed", "replace"]


class Keyed(Struct, frozen=True):
    """A record that equals others of its kind by its `key` alone; what else it has is for messages."""

    @property
    def key(self) -> tuple[object, ...]:
        """What it is compared by."""
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, Keyed) and other.key == self.key

    def __ne__(self, other: object) -> bool:
        # Else msgspec's own, which compares all fields.
        return not self == other

    def __hash__(self) -> int:
        return hash(self.key)
