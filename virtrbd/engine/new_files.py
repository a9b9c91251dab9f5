"""Files that are written once: whole or not at all, and never over an existing file."""

from pathlib import Path

from virtrbd.errors import UsageError
from virtrbd.local.write_whole import cannot_write, write_unless_taken
from virtrbd.specs.files import read_bounded


def write_new(file: Path, text: str, way_out: str) -> bool:
    """Write the file and return whether it was missing; an equal file is left as it is.

    Raises UsageError where there is another file, VirtrbdError where it can't be written.
    """
    try:
        # Readable by others, like other specs, which are kept in repositories.
        write_unless_taken(file, text.encode(), 0o644)
    except FileExistsError:
        if not _says(file, text):
            raise UsageError(f"{file} exists already with another content; {way_out}") from None
        return False
    except OSError as error:
        raise cannot_write(file, error, "choose another folder, or mend that") from error
    return True


def _says(file: Path, text: str) -> bool:
    try:
        return read_bounded(file) == text.encode()
    except OSError:
        # A link into nowhere, a folder, a pipe.
        return False
