"""The members of a tar archive (an OVA): names and places of their bytes; nothing is unpacked.

A name only identifies a member: it is never used as a path.
"""

import io
import tarfile
from collections.abc import Sequence

from msgspec import Struct

from virtrbd.errors import VirtrbdError
from virtrbd.printable import quoted
from virtrbd.qemu.formats.disk_signs import is_disc, is_disk
from virtrbd.qemu.formats.image_bytes import SECTOR_BYTES, ImageBytes
from virtrbd.qemu.formats.look import looks_like, wrapping_of

_MOST_MEMBERS = 1000
# tarfile reads a header's data about the next member (names, attributes) whole, whatever length it states.
_MOST_HEADER_BYTES = 1024**2
_MOST_READ_BYTES = 16 * 1024**2
_SHOWN = 10


class Member(Struct, frozen=True, kw_only=True):
    """A regular file of an archive: `length` bytes from `at` on."""

    name: str
    at: int
    length: int


def find_disk(archive: ImageBytes, wanted: str = "") -> Member:
    """Return the member of that name; without one, the only member that is a disk. Raises VirtrbdError, SpecError."""
    members = _members(archive)
    if wanted:
        named = [member for member in members if member.name.removeprefix("./") == wanted.removeprefix("./")]
        if len(named) > 1:
            raise archive.refused(f"holds {quoted(wanted)} {len(named)} times", "unpack it, and import the right one")
        if not named:
            raise archive.refused(f"does not hold a file {quoted(wanted)}", f"name one of {_names(members)}")
        return named[0]
    disks = [member for member in members if _holds_disk(part_of(archive, member))]
    if len(disks) > 1:
        way_out = "name one with --member, or `member:` in a spec, or unpack it"
        raise archive.refused(f"holds {len(disks)} disks: {_names(disks)}", way_out)
    if not disks:
        raise archive.refused("is a tar archive without a disk in it", f"it holds {_names(members)}")
    return disks[0]


def part_of(archive: ImageBytes, member: Member) -> ImageBytes:
    """Return the bytes of a member."""

    def read_at(offset: int, count: int) -> bytes:
        return archive.read_at(member.at + offset, max(0, min(count, member.length - offset)))

    return ImageBytes(name=f"{archive.name} ({member.name})", length=member.length, read_at=read_at)


def _holds_disk(image: ImageBytes) -> bool:
    """Whether a member is a disk, or packed: OVF allows packed disks."""
    if not image.length:
        return False
    if wrapping_of(image):
        return True
    try:
        found = looks_like(image)
    except VirtrbdError:
        # It is meant as a disk, and is refused with the reason when it is used.
        return True
    return found != "raw" or (is_disk(image) and not is_disc(image))


def _members(archive: ImageBytes) -> Sequence[Member]:
    """Return all regular members. Raises SpecError for a member that is not whole, VirtrbdError for a sparse member."""
    members: list[Member] = []
    try:
        with tarfile.open(fileobj=_Bounded(archive), mode="r:", errorlevel=2) as tar:
            for _ in range(_MOST_MEMBERS):
                found = tar.next()
                if found is None:
                    return members
                if found.issparse():
                    raise archive.refused(
                        f"holds {quoted(found.name)} with its holes left out",
                        "unpack it with `tar -xSf`, and import the disk in it",
                    )
                if found.isreg():
                    members.append(_member(archive, found))
    # LookupError: where the map of a sparse file is cut off, tarfile reads a byte that is not there.
    except (tarfile.TarError, ValueError, LookupError, OverflowError, EOFError, OSError, RecursionError) as error:
        raise archive.damaged(f"it is a tar archive that cannot be read ({error})") from None
    raise archive.refused(f"holds more than {_MOST_MEMBERS} files", "unpack it, and import the disk in it")


def _member(archive: ImageBytes, found: tarfile.TarInfo) -> Member:
    if found.size < 0 or found.offset_data + found.size > archive.length:
        raise archive.damaged(f"{quoted(found.name)} in it should have {found.size} bytes")
    if any(archive.peek(found.offset_data + found.size, -found.size % SECTOR_BYTES)):
        # A disk has whole sectors, so the filling of a member's last sector is read as a part of it.
        raise archive.damaged(f"{quoted(found.name)} in it is followed by data that does not belong to it")
    return Member(name=found.name, at=found.offset_data, length=found.size)


def _names(members: Sequence[Member]) -> str:
    names = [quoted(member.name) for member in members[:_SHOWN]]
    more = [f"{len(members) - _SHOWN} more"] if len(members) > _SHOWN else []
    return ", ".join([*names, *more]) or "nothing"


class _Bounded(io.RawIOBase):
    """The archive as the file that tarfile reads: a header is short, and there are not many."""

    def __init__(self, archive: ImageBytes) -> None:
        self._archive = archive
        self._at = 0
        self._left_bytes = _MOST_READ_BYTES

    def read(self, count: int = -1) -> bytes:
        self._left_bytes -= count
        if not 0 <= count <= _MOST_HEADER_BYTES or self._left_bytes < 0:
            raise ValueError("its headers are longer than in any archive of disks")
        found = self._archive.peek(self._at, count)
        self._at += len(found)
        return found

    def seek(self, at: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET or at < 0:
            raise ValueError("an offset before its begin")
        self._at = at
        return at

    def tell(self) -> int:
        return self._at

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True
