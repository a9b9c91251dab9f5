"""Object maps, read and counted without opening their images: what an image takes, in one read of 0.1 ms.

librbd keeps two bits an object (`ceph::BitVector<2>`, src/common/bit_vector.hpp): 0 absent, 1 written since the last
snapshot, 2 about to be removed, 3 unchanged since then (RBD's fast-diff).
"""

import errno
import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from msgspec import Struct

# The length of the header (4 bytes), which is in Ceph's encoding (6 bytes) the number of objects (8 bytes).
_HEADER_BYTES = 18
_OBJECTS_A_BYTE = 4
# With stripes an image has some more objects than its size has.
_SLACK_BYTES = 64
# A larger map is not read: of an image of 64 TiB in objects of 4 MiB.
_LARGEST_BYTES = 4 * 1024**2
# Reads under way at once: the buffers of all of them are in memory.
_MOST_BYTES, _MOST_READS = 32 * 1024**2, 256


def _counts(is_counted: Sequence[bool]) -> bytes:
    """Return, by the value of a byte, how many of its objects have a state that counts."""
    return bytes(sum(is_counted[byte >> shift & 3] for shift in (0, 2, 4, 6)) for byte in range(256))


_EXISTING, _WRITTEN = _counts((False, True, True, True)), _counts((False, True, True, False))


class MapOf(Struct, frozen=True, kw_only=True):
    """The object map of an image, or of its snapshot (0: of the image as it is)."""

    image_id: str
    snapshot_id: int
    size_bytes: int
    object_bytes: int

    @property
    def object_name(self) -> str:
        """The object that holds it."""
        return f"rbd_object_map.{self.image_id}" + (f".{self.snapshot_id:016x}" if self.snapshot_id else "")

    @property
    def read_bytes(self) -> int:
        """How much of that object is read."""
        return _HEADER_BYTES + self.size_bytes // self.object_bytes // _OBJECTS_A_BYTE + _SLACK_BYTES


class Amount(Struct, frozen=True, kw_only=True):
    """The bytes in objects: in all that exist, and in those written since the last snapshot."""

    existing_bytes: int
    written_bytes: int


def read_amounts(ioctx: Any, maps: Sequence[MapOf]) -> dict[MapOf, Amount | None]:
    """Return how much each image or snapshot takes, None where its map cannot be read or is not one."""
    found: dict[MapOf, Amount | None] = dict.fromkeys(maps)
    for some in _batches([each for each in maps if each.read_bytes <= _LARGEST_BYTES]):
        found |= {each: amount_of(each, raw) for each, raw in _read(ioctx, some).items()}
    return found


def _batches(maps: Sequence[MapOf]) -> Iterator[list[MapOf]]:
    batch: list[MapOf] = []
    room_bytes = _MOST_BYTES
    for each in maps:
        if len(batch) == _MOST_READS or room_bytes < 0:
            yield batch
            batch, room_bytes = [], _MOST_BYTES
        batch.append(each)
        room_bytes -= each.read_bytes
    if batch:
        yield batch


def _read(ioctx: Any, maps: Sequence[MapOf]) -> Mapping[MapOf, bytes]:
    read: dict[MapOf, bytes] = {}

    def take(each: MapOf, _completion: Any, data: bytes | None) -> None:
        read[each] = data or b""

    begun = [ioctx.aio_read(each.object_name, each.read_bytes, 0, partial(take, each)) for each in maps]
    for completion in begun:
        completion.wait_for_complete_and_cb()
    if all(completion.get_return_value() == -errno.ETIMEDOUT for completion in begun):
        # Doing one again raises that Ceph does not answer.
        ioctx.stat(maps[0].object_name)
    return read


def amount_of(of: MapOf, raw: bytes) -> Amount | None:
    """Return what the object's bytes say, None where they are not a map of all objects."""
    if len(raw) < _HEADER_BYTES:
        return None
    objects = struct.unpack_from("<Q", raw, _HEADER_BYTES - 8)[0]
    states = raw[_HEADER_BYTES : _HEADER_BYTES + -(-objects // _OBJECTS_A_BYTE)]
    if len(states) * _OBJECTS_A_BYTE < objects or objects < of.size_bytes // of.object_bytes:
        return None
    existing, written = sum(states.translate(_EXISTING)), sum(states.translate(_WRITTEN))
    return Amount(
        existing_bytes=min(existing * of.object_bytes, of.size_bytes),
        written_bytes=min(written * of.object_bytes, of.size_bytes),
    )
