"""Files to import, opened as a run opens them."""

from contextlib import AbstractContextManager

from virtrbd.images.import_source import ImportWork, open_import
from virtrbd.images.source_file import Source
from virtrbd.model.import_file import ImportFile
from virtrbd.model.settings import Settings

# The last bytes of a boot sector: the least that makes raw bytes a disk.
SIGNATURE_AT, SIGNATURE = 510, b"\x55\xaa"


def as_disk(content: bytes) -> bytes:
    """Return the bytes as those of a raw disk, whatever else they are: at least a sector of them."""
    content = content.ljust(SIGNATURE_AT + len(SIGNATURE), b"\0")
    return content[:SIGNATURE_AT] + SIGNATURE + content[SIGNATURE_AT + len(SIGNATURE) :]


def open_source(
    name: str, file_format: str = "", *, beneath: tuple[str, ...] | None = None
) -> AbstractContextManager[Source]:
    """Open a file of this host."""
    wanted = ImportFile(name=name, format=file_format, beneath=beneath)
    return open_import(wanted, ImportWork(settings=Settings(host="here")))
