"""Raw data from a stream; data that looks like an image file is refused, because its bytes are not meant as a disk."""

from collections.abc import Callable

from msgspec import Struct

from virtrbd.qemu.formats.disk_signs import HEAD_BYTES
from virtrbd.qemu.formats.image_bytes import SECTOR_BYTES, ImageBytes
from virtrbd.qemu.formats.look import looks_like, require_disk


class RawStream(Struct, kw_only=True):
    """`read_some` returns the requested number of bytes, fewer only at the end; `name` is for messages."""

    name: str
    read_some: Callable[[int], bytes]
    _head: bytes = b""
    _tail: bytes = b""
    _length: int = 0

    def read(self, count: int) -> bytes:
        """Return the next bytes. Raises VirtrbdError as soon as they look like another format, or unlike a disk.

        That is at the begin, except for a fixed VHD, which only its last sector shows.
        """
        part = self.read_some(count)
        is_first = self._length == 0
        self._length += len(part)
        self._tail = (self._tail + part)[-SECTOR_BYTES:]
        if is_first:
            self._head = part[:HEAD_BYTES]
            self._require_disk()
        if len(part) < count:
            self._require_raw(self._length)
        return part

    def _require_disk(self) -> None:
        self._require_raw(len(self._head))
        if self._head:
            require_disk(ImageBytes(name=self.name, length=len(self._head), read_at=self._read_at))

    def _require_raw(self, length: int) -> None:
        image = ImageBytes(name=self.name, length=length, read_at=self._read_at)
        found = looks_like(image)
        if found != "raw":
            way_out = "save it to a file and import that, or write --format raw for its bytes as they are"
            raise image.refused(f"is {found}, which can't be read from a pipe", way_out)

    def _read_at(self, offset: int, count: int) -> bytes:
        """Return bytes of the beginning or of the last sector; only these are kept."""
        at = offset - (self._length - len(self._tail))
        return (
            self._head[offset : offset + count] if at < 0 or offset < len(self._head) else self._tail[at : at + count]
        )
