"""Files written once: whole or not at all, and never over others."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from virtrbd.errors import UsageError, VirtrbdError


def write_new(file: Path, text: str, way_out: str) -> bool:
    """Write the file and return whether it was missing; one that says the very same is left as it is.

    Raises UsageError where another one stands there, VirtrbdError where it can't be written.
    """
    half = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        with open(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644), "wb") as stream:
            stream.write(text.encode())
            stream.flush()
            os.fsync(stream.fileno())
        # A link refuses a name that is taken; a rename would replace what is there.
        os.link(half, file)
    except FileExistsError:
        if file.read_bytes() != text.encode():
            raise UsageError(f"{file} is there already and says something else; {way_out}") from None
        return False
    except OSError as error:
        raise VirtrbdError(f"{file}: {error.strerror}; choose another folder, or mend that") from error
    finally:
        half.unlink(missing_ok=True)
    return True


@contextmanager
def written_while_useful(file: Path, text: str, way_out: str) -> Iterator[None]:
    """Write the file; it goes again when what it is for can't be done. Raises as write_new does."""
    is_new = write_new(file, text, way_out)
    try:
        yield
    except VirtrbdError:
        if is_new:
            file.unlink(missing_ok=True)
        raise
