"""What a person may write for the name of a file."""

from typing import Annotated

from pydantic import AfterValidator


def printable(text: str) -> str:
    """Return the text. Raises ValueError for what no file, pool or address is called by an operator."""
    if not text.isprintable():
        raise ValueError("holds NUL, a line's end or other characters that can't be printed; leave them out")
    return text


def absolute(path: str) -> str:
    """Return the path. Raises ValueError for one that is meant from some folder."""
    if not path.startswith("/"):
        raise ValueError(f"{path!r} is relative; write the whole path, from / on")
    return path


Printable = Annotated[str, AfterValidator(printable)]
AbsolutePath = Annotated[Printable, AfterValidator(absolute)]
