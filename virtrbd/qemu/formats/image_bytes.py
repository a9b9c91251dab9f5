"""The bytes of an image file, read where and as far as a header says, and never further."""

import struct
from collections.abc import Callable

from msgspec import Struct

from virtrbd.errors import SpecError, VirtrbdError

SECTOR_BYTES = 512
# Texts of a format are quoted up to this length.
_QUOTED_CHARACTERS = 200


class ImageBytes(Struct, frozen=True, kw_only=True):
    """`read_at` takes an offset and a count, and returns fewer bytes only at the end; `name` is for messages."""

    name: str
    length: int
    read_at: Callable[[int, int], bytes]

    def peek(self, offset: int, count: int) -> bytes:
        """Return the bytes, fewer where the file ends before."""
        # pread refuses an offset that a file can't have.
        return self.read_at(offset, count) if 0 <= offset < self.length else b""

    def get(self, offset: int, count: int) -> bytes:
        """Return so many bytes. Raises SpecError where the file ends before."""
        found = self.peek(offset, count)
        if len(found) < count:
            raise self.damaged(f"it ends before byte {offset + count}")
        return found

    def unpack(self, layout: struct.Struct, offset: int) -> tuple[int, ...]:
        """Return the numbers at that place. Raises SpecError where the file ends before."""
        return layout.unpack(self.get(offset, layout.size))

    def damaged(self, fact: str) -> SpecError:
        """Return the error that says that the file is not whole."""
        return SpecError(f"{self.name}: is damaged or cut short: {fact}; get the file again")

    def empty(self) -> SpecError:
        """Return the error for a file without a byte."""
        return SpecError(f"{self.name}: is empty; there is nothing to import")

    def not_of(self, file_format: str) -> SpecError:
        """Return the error for a file of another format than stated."""
        return SpecError(f"{self.name}: is not a {file_format} file; leave out --format, or name the right format")

    def refused(self, fact: str, way_out: str) -> VirtrbdError:
        """Return the error that says why the file is not imported, although it may be whole."""
        return VirtrbdError(f"{self.name}: {fact}; {way_out}")

    def refers_to(self, what: str) -> VirtrbdError:
        """Return the error that says that the image needs another file, which its maker chose."""
        return self.refused(f"refers to {what}", "flatten it first with qemu-img convert, where it was made")


def quoted(raw: bytes) -> str:
    """Return the begin of a text of a file, not escaped: it is escaped where it is printed."""
    return raw[:_QUOTED_CHARACTERS].decode(errors="surrogateescape").rstrip("\0")
