"""The bytes of an image file, read where and as far as a header says, and never further."""

import struct
from collections.abc import Callable
from dataclasses import dataclass

from virtrbd.errors import SpecError, VirtrbdError

SECTOR_BYTES = 512
# What a format writes down as a text is quoted this far.
_QUOTED_CHARACTERS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageBytes:
    """`read_at` takes an offset and a count, and returns fewer bytes at the end only; `name` is for messages."""

    name: str
    length: int
    read_at: Callable[[int, int], bytes]

    def peek(self, offset: int, count: int) -> bytes:
        """Return the bytes that are there, perhaps fewer than asked for."""
        # pread takes no offset that the file can't have.
        return self.read_at(offset, count) if 0 <= offset < self.length else b""

    def get(self, offset: int, count: int) -> bytes:
        """Return so many bytes. Raises SpecError where the file ends before."""
        found = self.peek(offset, count)
        if len(found) < count:
            raise self.damaged(f"it ends before byte {offset + count}")
        return found

    def unpack(self, layout: struct.Struct, offset: int) -> tuple[int, ...]:
        """Return the numbers that stand there. Raises SpecError where the file ends before."""
        return layout.unpack(self.get(offset, layout.size))

    def damaged(self, fact: str) -> SpecError:
        """Return the error that says that the file is not whole."""
        return SpecError(f"{self.name}: is damaged or cut short: {fact}; get the file again")

    def empty(self) -> SpecError:
        """Return the error for a file without a byte."""
        return SpecError(f"{self.name}: is empty; there is nothing to import")

    def not_of(self, file_format: str) -> SpecError:
        """Return the error for a file of another format than the one that was named."""
        return SpecError(f"{self.name}: is not a {file_format} file; leave out --format, or name the right one")

    def refused(self, fact: str, way_out: str) -> VirtrbdError:
        """Return the error that says why the file is not imported, though it may be whole."""
        return VirtrbdError(f"{self.name}: {fact}; {way_out}")

    def refers_to(self, what: str) -> VirtrbdError:
        """Return the error that says that the image needs another file, which its maker chose."""
        return self.refused(f"refers to {what}", "flatten it first with qemu-img convert, where it was made")


def quoted(raw: bytes) -> str:
    """Return the begin of a text of a file. Whoever prints it escapes it: here, it would be escaped twice."""
    return raw[:_QUOTED_CHARACTERS].decode(errors="surrogateescape").rstrip("\0")
